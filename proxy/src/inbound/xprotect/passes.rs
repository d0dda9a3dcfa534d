//! Tokens of clients: which were seen to be given to whom, by which server, until when, and what they may see.
//!
//! A token is opaque and known only by having passed: in an answer to `Login` of a management server that is relayed
//! ([`Issuer::Server`]), or as one that the house gave itself while the primary was down ([`Issuer::House`]). Nobody gets a pass by
//! naming a token that never passed. Who relays to the server that gave the token sends the client's own; everywhere else
//! the house's account of the configuration is used ([`Pass::key_at`]).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use seamline_probes::xprotect::Site;
use seamline_xprotect::rights::Rights;

/// Most tokens that are remembered; behind that those that end first are forgotten.
const PASSES_MAX: usize = 20_000;

/// All tokens of a face. One lock, never held across anything that waits.
#[derive(Debug, Default)]
pub(in crate::inbound) struct Passes {
    by_token: Mutex<HashMap<Arc<str>, Arc<Pass>>>,
}

/// What is known of a token.
pub(in crate::inbound) struct Pass {
    token: Arc<str>,
    /// Who it is, as the server knows him: `name`, or `domain\name`, in lower case. `None` where the login did not show it.
    pub(in crate::inbound) user: Option<Arc<str>>,
    /// Who gave the token.
    pub(in crate::inbound) issuer: Issuer,
    /// It is good until then, whoever gave it.
    pub(in crate::inbound) expires: Instant,
    rights: Mutex<Option<Arc<Rights>>>,
}

/// Who gave a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::inbound) enum Issuer {
    /// The management server with this origin, such as `https://vms.example`.
    Server(Arc<str>),
    /// The house. No recorder knows the token.
    House,
}

/// What opens a recorder.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::inbound) enum Key {
    /// The client's own token: the recorder decides what he may.
    Own(Arc<str>),
    /// The house's account there ([`Site::token`]); what the user may see is decided here, by [`Pass::may`].
    Account,
}

/// What a client wants of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::inbound) enum Wish {
    /// Its recordings.
    Play,
    /// What it sees now.
    Live,
    /// What is recorded of it, and when.
    List,
}

impl Passes {
    /// What is known of a token that is still good.
    pub(in crate::inbound) fn pass(&self, token: &str, now: Instant) -> Option<Arc<Pass>> {
        let passes = self.lock();
        passes.get(token).filter(|pass| now < pass.expires).cloned()
    }

    /// Remembers a token; what was known of the same one is replaced, but for rights that are not known anew.
    pub(in crate::inbound) fn note(&self, pass: Pass, now: Instant) -> Arc<Pass> {
        let mut passes = self.lock();
        if let Some(before) = passes.get(&pass.token)
            && pass.rights().is_none()
        {
            pass.set_rights(before.rights());
        }
        if passes.len() >= PASSES_MAX {
            passes.retain(|_, pass| now < pass.expires);
        }
        if passes.len() >= PASSES_MAX {
            // A tenth at once: finding the ones that end first looks at all of them.
            let mut ends: Vec<Instant> = passes.values().map(|pass| pass.expires).collect();
            let (_, last, _) = ends.select_nth_unstable(PASSES_MAX / 10);
            let last = *last;
            passes.retain(|_, pass| pass.expires > last);
        }
        let pass = Arc::new(pass);
        passes.insert(Arc::clone(&pass.token), Arc::clone(&pass));
        pass
    }

    /// Forgets a token, at its logout.
    pub(in crate::inbound) fn forget(&self, token: &str) {
        self.lock().remove(token);
    }

    /// Takes from a user what he may see, by all his tokens: the primary said so.
    pub(in crate::inbound) fn set_rights(&self, user: &str, rights: &Arc<Rights>) {
        for pass in self.lock().values() {
            if pass.user.as_deref() == Some(user) {
                pass.set_rights(Some(Arc::clone(rights)));
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Arc<Pass>>> {
        self.by_token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    pub(in crate::inbound) fn new(
        token: Arc<str>,
        user: Option<Arc<str>>,
        issuer: Issuer,
        expires: Instant,
        rights: Option<Arc<Rights>>,
    ) -> Self {
        Pass {
            token,
            user,
            issuer,
            expires,
            rights: Mutex::new(rights),
        }
    }

    /// What opens the recorders of a site for this client.
    pub(in crate::inbound) fn key_at(&self, site: &Site) -> Key {
        match &self.issuer {
            Issuer::Server(origin) if **origin == *origin_of(site) => {
                Key::Own(Arc::clone(&self.token))
            }
            Issuer::Server(_) | Issuer::House => Key::Account,
        }
    }

    /// Whether the primary's last answer to this user allows it. `None` while no answer of it is known: then only the primary's
    /// own recorder can tell, by the client's own token.
    pub(in crate::inbound) fn may(&self, wish: Wish, device: &str) -> Option<bool> {
        let rights = self.rights()?;
        let camera = rights.camera(device);
        Some(match wish {
            Wish::Play => camera.play,
            Wish::Live => camera.live,
            Wish::List => camera.list,
        })
    }

    /// All that the user may see, as the primary said last.
    pub(in crate::inbound) fn rights(&self) -> Option<Arc<Rights>> {
        let rights = self.rights.lock().unwrap_or_else(PoisonError::into_inner);
        rights.clone()
    }

    pub(in crate::inbound) fn set_rights(&self, rights: Option<Arc<Rights>>) {
        *self.rights.lock().unwrap_or_else(PoisonError::into_inner) = rights;
    }
}

/// Without the token.
impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass")
            .field("user", &self.user)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// Without the token.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Key::Own(_) => "Own(..)",
            Key::Account => "Account",
        })
    }
}

/// A management server's name among those that give tokens: two `[[recorder]]` at one URL are one server.
pub(in crate::inbound) fn origin_of(site: &Site) -> Arc<str> {
    site.server().origin().ascii_serialization().into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn pass(token: &str, expires: Instant) -> Pass {
        let server = Issuer::Server("http://a".into());
        Pass::new(token.into(), Some("guard".into()), server, expires, None)
    }

    #[test]
    fn a_token_is_good_until_its_end_and_unknown_ones_never() {
        let (passes, now) = (Passes::default(), crate::clock::now());
        passes.note(pass("one", now + Duration::from_secs(4)), now);
        assert!(passes.pass("one", now).is_some());
        assert!(passes.pass("two", now).is_none());
        assert!(passes.pass("one", now + Duration::from_secs(4)).is_none());
        passes.forget("one");
        assert!(passes.pass("one", now).is_none());
    }

    #[test]
    fn a_flood_of_logins_costs_those_that_end_first() {
        let (passes, now) = (Passes::default(), crate::clock::now());
        for ix in 0..PASSES_MAX + 5 {
            let expires = now + Duration::from_secs(1 + ix as u64);
            passes.note(pass(&ix.to_string(), expires), now);
        }
        assert!(passes.lock().len() <= PASSES_MAX);
        let last = (PASSES_MAX + 4).to_string();
        assert!(passes.pass(&last, now).is_some());
        assert!(passes.pass("0", now).is_none());
    }

    #[test]
    fn no_token_is_shown() {
        let pass = pass("TOKEN#secret", crate::clock::now());
        let shown = format!("{pass:?} {:?}", Key::Own("TOKEN#secret".into()));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
