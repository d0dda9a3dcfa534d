//! Who was let in, and to which cameras: what a user, a token and a link come to.

use std::sync::Arc;

use seamline_rtsp::auth::users::{CameraPattern, User};

/// Who was let in, and to which cameras.
#[derive(Clone, Debug)]
pub struct Grant {
    name: Option<Arc<str>>,
    /// A camera must fit each of these lists; none lets all pass.
    limits: Vec<Vec<CameraPattern>>,
}

impl Grant {
    /// Everybody, to everything: nobody is asked for.
    pub(super) fn open() -> Self {
        Grant {
            name: None,
            limits: Vec::new(),
        }
    }

    /// A configured user.
    pub(super) fn of(user: &User) -> Self {
        Grant::named(&user.name).within(user.cameras.clone())
    }

    /// Somebody of this name, to everything.
    pub(super) fn named(name: &str) -> Self {
        Grant {
            name: Some(name.into()),
            limits: Vec::new(),
        }
    }

    /// The same, to no more than these cameras; `None` takes nothing away.
    pub(super) fn within(mut self, cameras: Option<Vec<CameraPattern>>) -> Self {
        self.limits.extend(cameras);
        self
    }

    /// Whether this camera is theirs to see.
    pub fn may_see(&self, camera: &str) -> bool {
        let fits = |list: &Vec<CameraPattern>| list.iter().any(|pattern| pattern.matches(camera));
        self.limits.iter().all(fits)
    }

    /// Whether nothing is said of which cameras are theirs: all are, and all that will be.
    pub fn sees_all(&self) -> bool {
        self.limits.is_empty()
    }

    /// Their name; `None` where everybody may come in.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}
