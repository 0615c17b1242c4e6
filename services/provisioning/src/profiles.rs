//! The profiles of a tenant, compiled, and which of them select a device.

use crate::settings::{Setting, Settings};
use platen_bus::derived;
use platen_fleet::expression::{DeviceView, Expression, Scope};
use platen_proto::provisioning::v1::Profile;
use platen_store::{
    Store,
    table::{Error, Range},
    tables,
};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tracing::warn;

/// A change is told to every owner of devices; should that get lost, one of them hears of it by a timer, and the others have believed what they have
/// for so long at most.
const FRESH: Duration = Duration::from_secs(60);

/// One enabled profile.
#[derive(Debug)]
struct Compiled {
    id: String,
    selector: Expression,
    settings: Vec<Setting>,
}

/// The enabled profiles of a tenant: of two that set one path, the earlier counts.
#[derive(Debug, Default)]
pub(crate) struct Profiles {
    compiled: Vec<Compiled>,
    paths: HashSet<String>,
    read: HashSet<String>,
    generation: u64,
}

impl Profiles {
    /// Compiles profiles. One whose selector cannot be compiled selects nothing.
    pub(crate) fn new(profiles: impl IntoIterator<Item = Profile>) -> Self {
        let mut profiles: Vec<Profile> = profiles
            .into_iter()
            .filter(|profile| !profile.disabled)
            .collect();
        profiles.sort_by(|a, b| {
            b.priority
                .cmp(&a.priority)
                .then_with(|| a.name.cmp(&b.name))
        });
        let mut made = Self::default();
        let mut seen = Vec::new();
        for profile in profiles {
            let id = profile
                .name
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned();
            seen.push(format!("{id} {} {}", profile.version, profile.priority));
            let selector = match Expression::compile(&profile.selector, Scope::Profile) {
                Ok(selector) => selector,
                Err(error) => {
                    warn!(profile = profile.name, %error, "a stored profile has a selector that cannot be used, so it selects no device");
                    continue;
                }
            };
            let settings: Vec<Setting> = profile
                .settings
                .iter()
                .map(|setting| Setting::new(&setting.path, &setting.value, &setting.r#type))
                .collect();
            made.read.extend(selector.parameters().iter().cloned());
            made.paths
                .extend(settings.iter().map(|setting| setting.path.clone()));
            for setting in &settings {
                seen.push(format!("{:016x}", setting.id));
            }
            seen.push(profile.selector);
            made.compiled.push(Compiled {
                id,
                selector,
                settings,
            });
        }
        let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
        made.generation = derived::short(&seen);
        made
    }

    /// Changes with every change of an enabled profile.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.compiled.is_empty()
    }

    /// Whether some profile sets a parameter.
    pub(crate) fn sets(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// Whether some selector reads a parameter.
    pub(crate) fn reads_parameters(&self) -> bool {
        !self.read.is_empty()
    }

    /// Whether a reported value of a parameter may change what a device shall have, or whether it has it.
    pub(crate) fn concern(&self, path: &str) -> bool {
        self.paths.contains(path) || self.read.contains(path)
    }

    /// Ids of the profiles that select a device. A selector that asks for what the device lacks does not select it.
    pub(crate) fn selecting(&self, device: &dyn DeviceView) -> Vec<String> {
        let selecting = self
            .compiled
            .iter()
            .filter(|profile| profile.selector.eval(device).unwrap_or(false));
        selecting.map(|profile| profile.id.clone()).collect()
    }

    /// The settings of these profiles as they are by now, behind `own`.
    pub(crate) fn settings(&self, ids: &[String], own: Vec<Setting>) -> Settings {
        let selected = self
            .compiled
            .iter()
            .filter(|profile| ids.contains(&profile.id));
        Settings::merged(
            own.into_iter()
                .chain(selected.flat_map(|profile| profile.settings.iter().cloned())),
        )
    }
}

/// Profiles by tenant, read when needed and when they have changed.
#[derive(Debug)]
pub(crate) struct ProfilesByTenant {
    store: Store,
    tenants: Mutex<HashMap<String, Arc<Slot>>>,
}

#[derive(Debug, Default)]
struct Slot {
    current: Mutex<Option<(Instant, Arc<Profiles>)>>,
    /// One reads at a time: so what is read last is what was stored last.
    reading: tokio::sync::Mutex<()>,
}

impl ProfilesByTenant {
    /// Nothing read yet.
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            tenants: Mutex::default(),
        }
    }

    /// The profiles of a tenant; read at most once a minute.
    pub(crate) async fn of(&self, tenant: &str) -> Result<Arc<Profiles>, Error> {
        let slot = self.slot(tenant);
        if let Some(profiles) = slot.fresh() {
            return Ok(profiles);
        }
        let _reading = slot.reading.lock().await;
        match slot.fresh() {
            Some(profiles) => Ok(profiles),
            None => self.read(tenant, &slot).await,
        }
    }

    /// Reads the profiles of a tenant again.
    pub(crate) async fn reload(&self, tenant: &str) -> Result<(), Error> {
        let slot = self.slot(tenant);
        let _reading = slot.reading.lock().await;
        self.read(tenant, &slot).await.map(|_| ())
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        self.tenants
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    async fn read(&self, tenant: &str, slot: &Slot) -> Result<Arc<Profiles>, Error> {
        let (mut profiles, mut range) = (Vec::new(), Range::default());
        loop {
            let page = self
                .store
                .scan_edited::<tables::Profiles>((tenant, ""), range)
                .await?;
            profiles.extend(
                page.rows
                    .into_iter()
                    .filter_map(|(_, row)| row.value.profile),
            );
            match page.next {
                Some(cursor) => {
                    range = Range {
                        cursor: Some(cursor),
                        ..Range::default()
                    }
                }
                None => break,
            }
        }
        let profiles = Arc::new(Profiles::new(profiles));
        *slot.current.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), profiles.clone()));
        Ok(profiles)
    }

    fn slot(&self, tenant: &str) -> Arc<Slot> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = tenants.get(tenant) {
            return slot.clone();
        }
        tenants.entry(tenant.to_owned()).or_default().clone()
    }
}

impl Slot {
    fn fresh(&self) -> Option<Arc<Profiles>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current
            .as_ref()
            .filter(|(read, _)| read.elapsed() < FRESH)
            .map(|(_, profiles)| profiles.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platen_fleet::expression::ResourceView;
    use platen_proto::{device::v1::Device, provisioning::v1};

    fn profile(id: &str, priority: i32, selector: &str, settings: &[(&str, &str)]) -> Profile {
        Profile {
            name: format!("tenants/t/profiles/{id}"),
            selector: selector.to_owned(),
            settings: settings
                .iter()
                .map(|(path, value)| v1::Setting {
                    path: (*path).to_owned(),
                    value: (*value).to_owned(),
                    r#type: String::new(),
                })
                .collect(),
            priority,
            version: 1,
            ..Profile::default()
        }
    }

    #[test]
    fn settings_are_merged_by_priority() {
        let profiles = Profiles::new([
            profile(
                "low",
                1,
                "true",
                &[("Device.A", "low"), ("Device.B", "low")],
            ),
            profile("high", 2, "true", &[("Device.A", "high")]),
            Profile {
                disabled: true,
                ..profile("off", 3, "true", &[("Device.A", "off")])
            },
            profile(
                "other",
                4,
                "device.manufacturer == 'Other'",
                &[("Device.A", "other")],
            ),
        ]);
        let device = Device {
            manufacturer: "Example".into(),
            ..Device::default()
        };

        let ids = profiles.selecting(&ResourceView::new(&device, &|_| None));

        assert_eq!(ids, ["high", "low"]);
        let settings = profiles.settings(&ids, vec![Setting::new("Device.C", "own", "")]);
        let values: Vec<(&str, &str)> = settings
            .iter()
            .map(|s| (s.path.as_str(), s.value.as_str()))
            .collect();
        assert_eq!(
            values,
            [
                ("Device.A", "high"),
                ("Device.B", "low"),
                ("Device.C", "own")
            ]
        );
    }

    #[test]
    fn selectors_see_parameters_and_say_which() {
        let profiles = Profiles::new([profile(
            "p",
            0,
            "parameter('Device.X') == '1'",
            &[("Device.A", "1")],
        )]);
        let device = Device::default();

        assert_eq!(profiles.selecting(&ResourceView::new(&device, &|path| (path == "Device.X").then_some("1"))), ["p"]);
        assert!(
            profiles
                .selecting(&ResourceView::new(&device, &|_| None))
                .is_empty(),
            "what is not known selects nothing"
        );
        assert!(
            profiles.reads_parameters()
                && profiles.concern("Device.X")
                && profiles.concern("Device.A")
        );
        assert!(profiles.sets("Device.A") && !profiles.sets("Device.X"));
    }

    #[test]
    fn every_change_of_an_enabled_profile_is_another_generation() {
        let base = || profile("p", 0, "true", &[("Device.A", "1")]);
        let generation = |profile: Profile| Profiles::new([profile]).generation();

        for (what, changed) in [
            (
                "version",
                Profile {
                    version: 2,
                    ..base()
                },
            ),
            (
                "priority",
                Profile {
                    priority: 1,
                    ..base()
                },
            ),
            (
                "selector",
                Profile {
                    selector: "false".into(),
                    ..base()
                },
            ),
            ("settings", profile("p", 0, "true", &[("Device.A", "2")])),
            (
                "disabled",
                Profile {
                    disabled: true,
                    ..base()
                },
            ),
        ] {
            assert_ne!(generation(changed), generation(base()), "{what}");
        }
        assert_eq!(generation(base()), generation(base()));
    }

    #[test]
    fn a_profile_that_cannot_be_compiled_selects_nothing_and_harms_no_other() {
        let profiles = Profiles::new([
            profile("bad", 9, "device.", &[]),
            profile("good", 0, "true", &[]),
        ]);

        assert_eq!(
            profiles.selecting(&ResourceView::new(&Device::default(), &|_| None)),
            ["good"]
        );
    }
}
