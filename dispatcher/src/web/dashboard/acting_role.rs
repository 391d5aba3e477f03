//! As which role of PostgreSQL somebody acts.

use std::str::FromStr;

/// `[USER=]ROLE`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActingRole {
    /// Whom the proxy calls so; none = everybody else who is let in.
    user: Option<String>,
    role: String,
}

impl FromStr for ActingRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, role) = match text.rsplit_once('=') {
            Some((user, role)) => (Some(user.trim()), role.trim()),
            None => (None, text.trim()),
        };
        // PostgreSQL takes "none" for the login itself.
        if role.is_empty() || role == "none" || user == Some("") {
            return Err("give a role of PostgreSQL, as in ops, or ann@example.com=ops".to_owned());
        }
        Ok(Self { user: user.map(str::to_owned), role: role.to_owned() })
    }
}

/// The role of somebody; none = he may only look.
pub(super) fn role_of(roles: &[ActingRole], user: Option<&str>) -> Option<String> {
    let own = roles.iter().find(|role| role.user.is_some() && role.user.as_deref() == user);
    own.or_else(|| roles.iter().find(|role| role.user.is_none())).map(|found| found.role.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(texts: &[&str]) -> Vec<ActingRole> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn somebody_has_his_own_role_or_that_of_everybody_or_none() {
        let some = roles(&["ann@example.com=ops", " uid=bob = crm "]);
        assert_eq!(role_of(&some, Some("ann@example.com")).as_deref(), Some("ops"));
        assert_eq!(role_of(&some, Some("uid=bob")).as_deref(), Some("crm"));
        assert_eq!(role_of(&some, Some("eve")), None);
        assert_eq!(role_of(&some, None), None);
        let all = roles(&["everybody", "ann=ops"]);
        assert_eq!(role_of(&all, Some("ann")).as_deref(), Some("ops"));
        assert_eq!(role_of(&all, None).as_deref(), Some("everybody"));
    }

    #[test]
    fn what_names_no_role_is_refused() {
        for text in ["", " ", "ann=", "=ops", "none", "ann=none"] {
            assert!(text.parse::<ActingRole>().is_err(), "{text:?}");
        }
    }
}
