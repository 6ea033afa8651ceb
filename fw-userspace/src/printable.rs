//! Text from outside, for people: what steers a terminal, turns the order of a line round or is not seen is written out.

use std::borrow::Cow;

/// The same with such characters as Rust writes them: `\u{202e}`. A backslash stays as it is.
pub fn plain(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(|c| !is_plain(c)) else { return text.into() };
    let mut plain = String::with_capacity(text.len() + 16);
    plain.push_str(&text[..first]);
    for c in text[first..].chars() {
        if is_plain(c) {
            plain.push(c);
        } else {
            plain.extend(c.escape_default());
        }
    }
    plain.into()
}

/// Whether a character shows itself and changes nothing else.
pub fn is_plain(c: char) -> bool {
    match c {
        ' '..='~' => true,
        // Letters and marks by their category, and yet nothing is seen of them.
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' => false,
        '\u{3164}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}' => false,
        _ if c.is_control() => false,
        // The standard library knows what is printable. Behind another character it lets marks be.
        _ => {
            let behind = format!("x{c}");
            behind.escape_debug().eq(behind.chars())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out() {
        assert_eq!(plain("\u{1b}[2Jweb\n\u{7f}\u{9b}"), "\\u{1b}[2Jweb\\n\\u{7f}\\u{9b}");
        let turns = ['\u{61c}', '\u{200e}', '\u{200f}'].into_iter();
        let turns = turns.chain('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
        let unseen =
            ['\u{ad}', '\u{200b}', '\u{200d}', '\u{2028}', '\u{2060}', '\u{feff}', '\u{3164}', '\u{e0041}'];
        for c in turns.chain(unseen).chain('\0'..='\u{1f}').chain('\u{80}'..='\u{9f}') {
            assert_eq!(plain(&format!("a{c}b")), format!("a{}b", c.escape_default()));
        }
    }

    #[test]
    fn text_of_all_languages_stays() {
        for text in [
            "",
            "web",
            r#"a "b" \n 'c'"#,
            "Grüße",
            "e\u{301}",
            "日本語",
            "שלום",
            "العربية",
            "हिन्दी",
            "🔥\u{fe0f}",
        ] {
            assert!(matches!(plain(text), Cow::Borrowed(_)), "{text}");
        }
    }
}
