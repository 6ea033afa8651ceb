//! Basic authentication. bcrypt is slow on purpose: a password that was right once is remembered, as a number that tells
//! nothing of it, and others are tried one at a time.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use tokio::task::spawn_blocking;

use crate::error::{Error, Result};

/// Each step doubles the time: 16 takes seconds.
const MAX_COST: u32 = 16;
/// For users that there are none of: they are not to be told by the time that they take.
const NOBODY: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

/// Who may ask; everybody if there are none.
#[derive(Default)]
pub(super) struct Users {
    hashes: BTreeMap<String, String>,
    /// Two numbers of each name and password that were right: no more of them than there are users.
    proven: Mutex<HashSet<[u64; 2]>>,
    secrets: [RandomState; 2],
    turn: tokio::sync::Mutex<()>,
}

impl Users {
    /// Names and bcrypt hashes.
    pub(super) fn new(hashes: BTreeMap<String, String>) -> Result<Self> {
        for (user, hash) in &hashes {
            let refused = |why: &str| Err(Error::input(format!("user {user:?}: {why}")));
            match hash.parse::<HashParts>() {
                Ok(parts) if parts.get_cost() <= MAX_COST => {}
                Ok(_) => return refused("its hash takes too long to verify; make one of cost 10 to 16"),
                Err(_) => return refused("not a bcrypt hash; make one with `htpasswd -nBC 10 USER`"),
            }
        }
        Ok(Self { hashes, ..Self::default() })
    }

    /// Whether somebody with this `Authorization` may ask.
    pub(super) async fn admit(&self, authorization: Option<&str>) -> bool {
        if self.hashes.is_empty() {
            return true;
        }
        let Some((user, password)) = authorization.and_then(credentials) else { return false };
        let hash = self.hashes.get(&user);
        let number = self.secrets.each_ref().map(|secret| secret.hash_one((&user, &password, hash)));
        if self.is_proven(number) {
            return true;
        }
        let _turn = self.turn.lock().await;
        // By the one before us.
        if self.is_proven(number) {
            return true;
        }
        let is_user = hash.is_some();
        let hash = hash.map_or(NOBODY, String::as_str).to_owned();
        let verified = spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false)).await;
        let is_right = is_user && verified.unwrap_or(false);
        if is_right {
            self.proven.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
        }
        is_right
    }

    fn is_proven(&self, number: [u64; 2]) -> bool {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner).contains(&number)
    }
}

/// RFC 7617.
fn credentials(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[tokio::test]
    async fn the_right_password_and_no_other() {
        let hash = bcrypt::hash("se:cret", 4).unwrap();
        let users = Users::new([("alice".to_owned(), hash)].into()).unwrap();
        for _ in 0..2 {
            assert!(users.admit(Some(&basic("alice:se:cret"))).await);
        }
        assert_eq!(users.proven.lock().unwrap().len(), 1);
        for wrong in ["alice:secret", "alice:", "bob:se:cret", "alice", ""] {
            assert!(!users.admit(Some(&basic(wrong))).await, "{wrong}");
        }
        for wrong in ["", "Basic", "Basic !", "Bearer YWxpY2U6c2U6Y3JldA==", "Basic YWxpY2U6c2U6Y3JldA"] {
            assert!(!users.admit(Some(wrong)).await, "{wrong}");
        }
        assert!(!users.admit(None).await);
        assert_eq!(users.proven.lock().unwrap().len(), 1, "what is wrong takes no memory");
        assert!(Users::default().admit(None).await);
    }

    #[test]
    fn hashes_of_all_makers_and_none_that_takes_for_ever() {
        let of = |hash: &str| Users::new([("a".to_owned(), hash.to_owned())].into()).map(|_| ());
        for version in ["2a", "2b", "2x", "2y"] {
            assert_eq!(of(&NOBODY.replace("2y", version)), Ok(()), "{version}");
        }
        assert!(of(&NOBODY.replace("$10$", "$31$")).unwrap_err().to_string().contains("too long"));
        assert!(of("secret").unwrap_err().to_string().contains("htpasswd"));
    }
}
