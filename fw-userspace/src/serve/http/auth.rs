//! Basic authentication. bcrypt is slow on purpose: a password that was right once is remembered, as a number that tells
//! nothing of it without a key of this process. Others are tried one at a time, and only so many of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use ring::hmac::{self, HMAC_SHA256};
use ring::rand::SystemRandom;
use tokio::task::spawn_blocking;
use tokio::time::Duration;

use super::allowance::Allowance;
use crate::error::{Error, Result};

/// Each step doubles the time: 16 takes seconds.
const MAX_COST: u32 = 16;
/// Behind version and cost, for users that there are none of: they are not to be told by the time that they take.
const NOBODY: &str = "QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

/// Who may ask.
pub(super) enum Users {
    Everybody,
    Some(Box<Known>),
}

pub(super) struct Known {
    /// With their costs.
    hashes: BTreeMap<String, (String, u32)>,
    key: hmac::Key,
    /// Of users whose password was right, what it was; see [`Known::sealed`].
    proven: Mutex<BTreeMap<String, hmac::Tag>>,
    allowance: Allowance,
    turn: tokio::sync::Mutex<()>,
    #[cfg(test)]
    runs: std::sync::atomic::AtomicUsize,
}

/// What comes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Admitted,
    Refused,
    /// Too many passwords were tried; when to come again.
    Later(Duration),
}

impl Users {
    /// Names and bcrypt hashes; everybody if there are none.
    pub(super) fn new(hashes: BTreeMap<String, String>) -> Result<Self> {
        let mut costs = BTreeMap::new();
        for (user, hash) in hashes {
            let refused = |why: &str| Err(Error::input(format!("user {user:?}: {why}")));
            let cost = match hash.parse::<HashParts>() {
                Ok(parts) if parts.get_cost() <= MAX_COST => parts.get_cost(),
                Ok(_) => return refused("its hash takes too long to verify; make one of cost 10 to 16"),
                Err(_) => return refused("not a bcrypt hash; make one with `htpasswd -nBC 10 USER`"),
            };
            costs.insert(user, (hash, cost));
        }
        if costs.is_empty() {
            return Ok(Self::Everybody);
        }
        let key = hmac::Key::generate(HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| Error::system("the kernel gives no random numbers, passwords cannot be kept"))?;
        Ok(Self::Some(Box::new(Known {
            hashes: costs,
            key,
            proven: Mutex::default(),
            allowance: Allowance::new(),
            turn: tokio::sync::Mutex::default(),
            #[cfg(test)]
            runs: std::sync::atomic::AtomicUsize::new(0),
        })))
    }

    /// Whether somebody with this `Authorization` may ask.
    pub(super) async fn admit(&self, authorization: Option<&str>, peer: Option<IpAddr>) -> Admission {
        match (self, authorization.and_then(credentials)) {
            (Self::Everybody, _) => Admission::Admitted,
            (Self::Some(_), None) => Admission::Refused,
            (Self::Some(known), Some((user, password))) => known.admit(&user, password, peer).await,
        }
    }
}

impl Known {
    async fn admit(&self, user: &str, password: String, peer: Option<IpAddr>) -> Admission {
        let sealed = sealed(user, &password);
        // Whoever guesses beside it never costs a scraper its turn.
        if self.is_proven(user, &sealed) {
            return Admission::Admitted;
        }
        let is_user = self.hashes.contains_key(user);
        let (hash, cost) = self.hashes.get(user).cloned().unwrap_or_else(|| self.nobody(user));
        if let Err(wait) = self.allowance.take(peer, cost) {
            return Admission::Later(wait);
        }
        let _turn = self.turn.lock().await;
        // By the one before us.
        if self.is_proven(user, &sealed) {
            return Admission::Admitted;
        }
        #[cfg(test)]
        self.runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let verified = spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false)).await;
        if !(is_user && verified.unwrap_or(false)) {
            return Admission::Refused;
        }
        let tag = hmac::sign(&self.key, &sealed);
        self.proven.lock().unwrap_or_else(PoisonError::into_inner).insert(user.to_owned(), tag);
        Admission::Admitted
    }

    /// In constant time.
    fn is_proven(&self, user: &str, sealed: &[u8]) -> bool {
        let proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        proven.get(user).is_some_and(|tag| hmac::verify(&self.key, sealed, tag.as_ref()).is_ok())
    }

    /// A hash that nothing matches and that takes as long as a user's, for one name always the same one's.
    fn nobody(&self, name: &str) -> (String, u32) {
        let tag = hmac::sign(&self.key, name.as_bytes());
        let place = usize::from(tag.as_ref()[0]) % self.hashes.len();
        let cost = self.hashes.values().nth(place).map_or(10, |(_, cost)| *cost);
        (format!("$2y${cost:02}${NOBODY}"), cost)
    }
}

/// Name and password, which no other two are.
fn sealed(user: &str, password: &str) -> Vec<u8> {
    [&user.len().to_be_bytes()[..], user.as_bytes(), password.as_bytes()].concat()
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
    use std::sync::atomic::Ordering;

    use super::Admission::{Admitted, Later, Refused};
    use super::*;

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    fn alice() -> Users {
        Users::new([("alice".to_owned(), bcrypt::hash("se:cret", 4).unwrap())].into()).unwrap()
    }

    fn known(users: &Users) -> &Known {
        match users {
            Users::Some(known) => known,
            Users::Everybody => panic!("there are users"),
        }
    }

    fn runs(users: &Users) -> usize {
        known(users).runs.load(Ordering::Relaxed)
    }

    /// Each from an address of its own.
    async fn ask(users: &Users, authorization: &str, from: u8) -> Admission {
        users.admit(Some(authorization), Some([192, 0, 2, from].into())).await
    }

    #[tokio::test]
    async fn the_right_password_and_no_other() {
        let users = alice();
        for _ in 0..2 {
            assert_eq!(ask(&users, &basic("alice:se:cret"), 0).await, Admitted);
        }
        assert_eq!(runs(&users), 1);
        for (from, wrong) in ["alice:secret", "alice:", "bob:se:cret", "alice", ""].iter().enumerate() {
            assert_eq!(ask(&users, &basic(wrong), from as u8).await, Refused, "{wrong}");
        }
        for wrong in ["", "Basic", "Basic !", "Bearer YWxpY2U6c2U6Y3JldA==", "Basic YWxpY2U6c2U6Y3JldA"] {
            assert_eq!(ask(&users, wrong, 9).await, Refused, "{wrong}");
        }
        assert_eq!(users.admit(None, None).await, Refused);
        assert_eq!(known(&users).proven.lock().unwrap().len(), 1, "what is wrong takes no memory");
        assert_eq!(Users::Everybody.admit(None, None).await, Admitted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_guesser_has_few_runs_and_a_scraper_its_answers() {
        let users = alice();
        for second in 0..100 {
            for guess in 0..10 {
                let said = ask(&users, &basic(&format!("alice:{guess}")), 1).await;
                assert!(matches!(said, Refused | Later(_)), "{said:?}");
            }
            // From the guesser's own address too, and the first time from another.
            if second > 0 {
                assert_eq!(ask(&users, &basic("alice:se:cret"), 1).await, Admitted);
            }
            assert_eq!(ask(&users, &basic("alice:se:cret"), 2).await, Admitted);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // At once 4 guesses and one scraper, then one in ten seconds.
        assert!((5..=15).contains(&runs(&users)), "{}", runs(&users));
    }

    #[tokio::test]
    async fn names_of_nobody_cost_what_those_of_users_do() {
        let users = alice();
        assert_eq!(ask(&users, &basic("bob:x"), 1).await, Refused);
        assert_eq!(ask(&users, &basic("alice:x"), 1).await, Refused);
        assert_eq!(runs(&users), 2);
        let (hash, cost) = known(&users).nobody("bob");
        assert_eq!((hash.parse::<HashParts>().unwrap().get_cost(), cost), (4, 4));
    }

    #[test]
    fn hashes_of_all_makers_and_none_that_takes_for_ever() {
        let of = |hash: &str| Users::new([("a".to_owned(), hash.to_owned())].into()).map(|_| ());
        for version in ["2a", "2b", "2x", "2y"] {
            assert_eq!(of(&format!("${version}$10${NOBODY}")), Ok(()), "{version}");
        }
        assert!(of(&format!("$2y$31${NOBODY}")).unwrap_err().to_string().contains("too long"));
        assert!(of("secret").unwrap_err().to_string().contains("htpasswd"));
    }
}
