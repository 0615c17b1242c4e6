//! What a device shall have: the settings of everything that selects it, merged.

use platen_bus::derived;
use platen_fleet::operation::is_hidden;
use std::collections::BTreeMap;

/// One parameter and the value that it shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Full path of the parameter.
    pub(crate) path: String,
    /// As written in the profile.
    pub(crate) value: String,
    /// `xsd:…` as written in the profile; empty: whatever the device says.
    pub(crate) kind: String,
    /// Nobody may read the value out of a row, and what the device reports of it says nothing.
    pub(crate) secret: bool,
    /// Hash of path, type and value: tells whether two settings are the same.
    pub(crate) id: u64,
}

impl Setting {
    /// A setting as a profile states it.
    pub(crate) fn new(path: &str, value: &str, kind: &str) -> Self {
        let kind = match kind {
            "" => String::new(),
            kind if kind.contains(':') => kind.to_owned(),
            kind => format!("xsd:{kind}"),
        };
        let id = derived::short(&[path, &kind, value]);
        let secret = is_hidden(path);
        Self {
            path: path.to_owned(),
            value: value.to_owned(),
            kind,
            secret,
            id,
        }
    }
}

/// The settings of one device, one per path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    by_path: BTreeMap<String, Setting>,
}

impl Settings {
    /// Merges settings: of two with one path the first counts.
    pub(crate) fn merged(settings: impl IntoIterator<Item = Setting>) -> Self {
        let mut by_path = BTreeMap::new();
        for setting in settings {
            by_path.entry(setting.path.clone()).or_insert(setting);
        }
        Self { by_path }
    }

    /// By path.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.by_path.values()
    }

    /// The setting of a path.
    pub(crate) fn get(&self, path: &str) -> Option<&Setting> {
        self.by_path.get(path)
    }

    /// Number of settings.
    pub(crate) fn len(&self) -> usize {
        self.by_path.len()
    }

    /// Tells two sets of settings apart; the empty set has the empty digest, like a device that was never set.
    pub(crate) fn digest(&self) -> Vec<u8> {
        if self.by_path.is_empty() {
            return Vec::new();
        }
        let ids: Vec<String> = self
            .iter()
            .map(|setting| format!("{:016x}", setting.id))
            .collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        derived::hash(&ids)[..16].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_settings_of_a_path_the_first_counts() {
        let settings = Settings::merged([
            Setting::new("Device.A", "1", ""),
            Setting::new("Device.A", "2", ""),
        ]);

        assert_eq!(
            settings.get("Device.A").map(|s| s.value.as_str()),
            Some("1")
        );
    }

    #[test]
    fn the_digest_knows_path_type_and_value_but_no_order() {
        let of = |settings: &[(&str, &str, &str)]| {
            Settings::merged(
                settings
                    .iter()
                    .map(|(path, value, kind)| Setting::new(path, value, kind)),
            )
            .digest()
        };

        assert_eq!(
            of(&[("Device.A", "1", ""), ("Device.B", "2", "")]),
            of(&[("Device.B", "2", ""), ("Device.A", "1", "")])
        );
        assert_eq!(
            of(&[("Device.A", "1", "int")]),
            of(&[("Device.A", "1", "xsd:int")])
        );
        assert_ne!(of(&[("Device.A", "1", "")]), of(&[("Device.A", "2", "")]));
        assert_ne!(
            of(&[("Device.A", "1", "")]),
            of(&[("Device.A", "1", "xsd:int")])
        );
        assert!(of(&[]).is_empty());
    }
}
