//! `platen.provisioning.v1.ProfileService`: values for the devices that an expression selects.

use crate::{
    api::{Api, Subject},
    caller::Caller,
    devices::check_request_id,
    names, page,
    refusal::{Refusal, Violation},
};
use platen_datamodel::path::Path;
use platen_fleet::{
    device::timestamp,
    expression::{Expression, Scope},
};
use platen_ids::TenantId;
use platen_proto::{
    provisioning::v1::{
        CreateProfileRequest, DeleteProfileRequest, GetProfileRequest, ListProfilesRequest,
        ListProfilesResponse, Profile, UpdateProfileRequest,
        profile_service_server::ProfileService,
    },
    store::v1::ProfileRow,
};
use platen_store::{
    rows::{EditedRow, SwappedRow},
    table::Expect,
    tables::Profiles,
};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};
use tonic::{Request, Response, Status};

/// Most settings of a profile.
const MAX_SETTINGS: usize = 500;

/// Most profiles of a tenant: all of them are looked at for every device.
const MAX_PROFILES: usize = 1_000;

const CHANGED: &str = "PROFILE_CHANGED";

/// Profiles.
#[derive(Debug, Clone)]
pub(crate) struct ProfileApi(pub(crate) Arc<Api>);

#[tonic::async_trait]
impl ProfileService for ProfileApi {
    async fn create_profile(
        &self,
        request: Request<CreateProfileRequest>,
    ) -> Result<Response<Profile>, Status> {
        let caller = Caller::of(&request)?;
        let CreateProfileRequest {
            parent,
            profile,
            request_id,
        } = request.into_inner();
        let tenant = names::tenant(&parent)?;
        caller.enters(&tenant, &parent)?;
        crate::tenants::exists(&self.0.store, &tenant).await?;
        check_request_id(&request_id, "requestId")?;
        let asked = profile.unwrap_or_default();
        check(&asked)?;
        let fallback = ulid::Ulid::generate().to_string().to_ascii_lowercase();
        let id = names::chosen(
            &asked.name,
            "profile.name",
            &tenant,
            "profiles",
            &asked.display_name,
            &fallback,
        )?;
        let now = timestamp(Api::now_us());
        let profile = Profile {
            name: names::of(&tenant, "profiles", &id),
            version: 1,
            create_time: now,
            update_time: now,
            etag: String::new(),
            ..asked
        };
        let row = ProfileRow {
            profile: Some(profile),
            request_id: request_id.clone(),
            etag: String::new(),
        };
        match self.save(&tenant, &id, Expect::Absent, row).await? {
            Ok(made) => Ok(Response::new(made)),
            Err(Some(found)) if !request_id.is_empty() && found.value.request_id == request_id => {
                Ok(Response::new(resource(found)))
            }
            Err(_) => {
                let message = format!("{} exists already", names::of(&tenant, "profiles", &id));
                Err(Refusal::Exists {
                    code: "PROFILE_EXISTS",
                    message,
                }
                .into())
            }
        }
    }

    async fn get_profile(
        &self,
        request: Request<GetProfileRequest>,
    ) -> Result<Response<Profile>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let (tenant, id) = names::child(&name, "profiles")?;
        caller.enters(&tenant, &name)?;
        Ok(Response::new(resource(self.stored(&tenant, &id).await?)))
    }

    async fn list_profiles(
        &self,
        request: Request<ListProfilesRequest>,
    ) -> Result<Response<ListProfilesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let asked = request.into_inner();
        let tenant = names::tenant(&asked.parent)?;
        caller.enters(&tenant, &asked.parent)?;
        let page = page::Asked {
            query: &["profiles", &asked.parent],
            size: (asked.page_size, 50, 500),
            token: &asked.page_token,
        };
        let (rows, next_page_token) =
            page::edited::<Profiles>(&self.0.store, (tenant.as_str(), ""), page).await?;
        let profiles = rows.into_iter().map(resource).collect();
        Ok(Response::new(ListProfilesResponse {
            profiles,
            next_page_token,
        }))
    }

    async fn update_profile(
        &self,
        request: Request<UpdateProfileRequest>,
    ) -> Result<Response<Profile>, Status> {
        let caller = Caller::of(&request)?;
        let asked = request.into_inner().profile.unwrap_or_default();
        let (tenant, id) = names::child(&asked.name, "profiles")?;
        caller.enters(&tenant, &asked.name)?;
        check(&asked)?;
        loop {
            let found = self.stored(&tenant, &id).await?;
            if !asked.etag.is_empty() && asked.etag != found.etag {
                return Err(Refusal::Changed(asked.name).into());
            }
            let before = found.value.profile.unwrap_or_default();
            let profile = Profile {
                version: before.version.saturating_add(1),
                create_time: before.create_time,
                update_time: timestamp(Api::now_us()),
                etag: String::new(),
                ..asked.clone()
            };
            let row = ProfileRow {
                profile: Some(profile),
                request_id: found.value.request_id,
                etag: String::new(),
            };
            if let Ok(saved) = self
                .save(&tenant, &id, Expect::Etag(found.etag), row)
                .await?
            {
                return Ok(Response::new(saved));
            }
        }
    }

    async fn delete_profile(
        &self,
        request: Request<DeleteProfileRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let DeleteProfileRequest { name, etag } = request.into_inner();
        let (tenant, id) = names::child(&name, "profiles")?;
        caller.enters(&tenant, &name)?;
        self.stored(&tenant, &id).await?;
        let subject = Subject::Other {
            kind: "profile",
            id: &id,
        };
        self.0
            .announce(&["provisioning"], &tenant, subject, CHANGED)
            .await?;
        let expect = if etag.is_empty() {
            Expect::Any
        } else {
            Expect::Etag(etag)
        };
        let swapped = self
            .0
            .store
            .compare_and_set::<Profiles>((tenant.as_str(), id.as_str()), expect, None)
            .await;
        match swapped.map_err(Refusal::from)? {
            SwappedRow::Done(_) => {}
            SwappedRow::Refused(Some(_)) => return Err(Refusal::Changed(name).into()),
            SwappedRow::Refused(None) => return Err(Refusal::NotFound(name).into()),
        }
        self.0.notify(&tenant, subject, CHANGED).await;
        Ok(Response::new(()))
    }
}

impl ProfileApi {
    async fn stored(&self, tenant: &TenantId, id: &str) -> Result<EditedRow<ProfileRow>, Refusal> {
        let row = self
            .0
            .store
            .get_edited::<Profiles>((tenant.as_str(), id))
            .await?;
        row.ok_or_else(|| Refusal::NotFound(names::of(tenant, "profiles", id)))
    }

    /// Writes a profile unless it contradicts another. The inner error is what stands there instead of what was expected.
    ///
    /// One at a time in this process, so that two profiles that contradict each other cannot pass each other. Two processes could still let both
    /// in; provisioning then goes by the profile's id.
    async fn save(
        &self,
        tenant: &TenantId,
        id: &str,
        expect: Expect,
        row: ProfileRow,
    ) -> Result<Result<Profile, Option<EditedRow<ProfileRow>>>, Refusal> {
        let _one = self.0.saving_profiles.lock().await;
        let all = self
            .0
            .store
            .scan_all_edited::<Profiles>((tenant.as_str(), ""))
            .await?;
        if expect == Expect::Absent && all.len() >= MAX_PROFILES {
            let message = format!("a tenant has at most {MAX_PROFILES} profiles");
            return Err(Refusal::Precondition {
                code: "TOO_MANY_PROFILES",
                message,
            });
        }
        let saved = row.profile.clone().unwrap_or_default();
        let others = all
            .into_iter()
            .filter_map(|(_, row)| row.value.profile)
            .filter(|other| other.name != saved.name);
        let conflicts: Vec<String> = others
            .filter_map(|other| conflict(&saved, &other))
            .take(5)
            .collect();
        if !conflicts.is_empty() {
            return Err(Refusal::Precondition {
                code: "PROFILE_CONFLICT",
                message: conflicts.join("; "),
            });
        }
        let subject = Subject::Other {
            kind: "profile",
            id,
        };
        self.0
            .announce(&["provisioning"], tenant, subject, CHANGED)
            .await?;
        match self
            .0
            .store
            .compare_and_set::<Profiles>((tenant.as_str(), id), expect, Some(&row))
            .await?
        {
            SwappedRow::Done(etag) => {
                self.0.notify(tenant, subject, CHANGED).await;
                Ok(Ok(resource(EditedRow { value: row, etag })))
            }
            SwappedRow::Refused(found) => Ok(Err(found)),
        }
    }
}

fn resource(row: EditedRow<ProfileRow>) -> Profile {
    Profile {
        etag: row.etag,
        ..row.value.profile.unwrap_or_default()
    }
}

/// What is wrong with a profile by itself.
fn check(profile: &Profile) -> Result<(), Refusal> {
    let mut violations = Vec::new();
    let mut refuse = |field: String, why: String| {
        violations.push(Violation::new(format!("profile.{field}"), why))
    };
    if profile.display_name.chars().count() > 200 {
        refuse(
            "displayName".into(),
            "must have at most 200 characters".into(),
        );
    }
    if profile.selector.trim().is_empty() {
        refuse(
            "selector".into(),
            "must be given; \"true\" selects every device".into(),
        );
    } else if let Err(error) = Expression::compile(&profile.selector, Scope::Profile) {
        refuse("selector".into(), error.to_string());
    }
    if !(1..=MAX_SETTINGS).contains(&profile.settings.len()) {
        refuse(
            "settings".into(),
            format!("must have 1 to {MAX_SETTINGS} items"),
        );
    }
    let mut seen = HashSet::new();
    for (index, setting) in profile.settings.iter().take(MAX_SETTINGS).enumerate() {
        match setting.path.parse::<Path>() {
            Err(error) => refuse(format!("settings[{index}].path"), error.to_string()),
            Ok(path) if path.is_object() => refuse(
                format!("settings[{index}].path"),
                "must name a parameter: no dot at the end".into(),
            ),
            Ok(_) if setting.path.contains("{i}") => refuse(
                format!("settings[{index}].path"),
                "needs instance numbers".into(),
            ),
            Ok(_) if !seen.insert(&setting.path) => {
                refuse(format!("settings[{index}].path"), "is there twice".into())
            }
            Ok(_) => {}
        }
        if let Err((field, why)) = crate::action::check_value(&setting.value, &setting.r#type) {
            refuse(format!("settings[{index}].{field}"), why);
        }
    }
    violations.truncate(20);
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Invalid(violations))
    }
}

/// Why two profiles cannot stand beside each other: both are enabled, set one path to different values with one priority, and may select one
/// device.
fn conflict(saved: &Profile, other: &Profile) -> Option<String> {
    if saved.disabled
        || other.disabled
        || saved.priority != other.priority
        || are_disjoint(&saved.selector, &other.selector)
    {
        return None;
    }
    let theirs: HashMap<&str, &str> = other
        .settings
        .iter()
        .map(|setting| (setting.path.as_str(), setting.value.as_str()))
        .collect();
    let both = saved.settings.iter().find(|setting| {
        theirs
            .get(setting.path.as_str())
            .is_some_and(|value| *value != setting.value)
    })?;
    Some(format!(
        "{} sets {} with the same priority {}, and may select the same devices: give one of them a higher priority, or selectors that ask for different \
         values of one field",
        other.name, both.path, other.priority
    ))
}

/// Whether two selectors can be seen to have no device in common: each demands, at its top level, another text of the same field.
fn are_disjoint(a: &str, b: &str) -> bool {
    let (a, b) = (demands(a), demands(b));
    a.iter().any(|(field, text)| {
        b.iter()
            .any(|(other, theirs)| field == other && text != theirs)
    })
}

/// The `device.field == "text"` that an expression demands: the parts of its top-level conjunction. Nothing is read out of an expression with
/// `||`, `?`, `!` or an escape, of which it would be hard to say.
fn demands(selector: &str) -> Vec<(&str, &str)> {
    if selector.contains(['|', '?', '\\']) {
        return Vec::new();
    }
    selector.split("&&").filter_map(demand).collect()
}

fn demand(part: &str) -> Option<(&str, &str)> {
    let (field, text) = part.trim().split_once("==")?;
    let field = field.trim().strip_prefix("device.")?;
    let text = text.trim();
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let text = text.strip_prefix(quote)?.strip_suffix(quote)?;
    let plain = field.bytes().all(|b| b.is_ascii_alphanumeric()) && !text.contains(['"', '\'']);
    plain.then_some((field, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use platen_proto::provisioning::v1::Setting;

    fn profile(name: &str, selector: &str, value: &str) -> Profile {
        let setting = Setting {
            path: "Device.Time.NTPServer1".into(),
            value: value.into(),
            r#type: String::new(),
        };
        Profile {
            name: name.into(),
            selector: selector.into(),
            settings: vec![setting],
            ..Profile::default()
        }
    }

    #[test]
    fn profiles_that_contradict_each_other_are_refused() {
        for (a, b, conflicts) in [
            ("true", "true", true),
            (
                "device.manufacturer == \"HP\"",
                "device.manufacturer == 'Ricoh'",
                false,
            ),
            (
                "device.manufacturer == \"HP\"",
                "device.manufacturer == \"HP\"",
                true,
            ),
            (
                "device.manufacturer == \"HP\" && device.state == \"ACTIVE\"",
                "device.state == \"EXPECTED\"",
                false,
            ),
            (
                "device.manufacturer == \"HP\" || true",
                "device.manufacturer == \"Ricoh\"",
                true,
            ),
            (
                "device.manufacturer == \"HP\"",
                "device.modelName == \"X\"",
                true,
            ),
            ("'x' in device.tags", "'y' in device.tags", true),
            (
                "device.manufacturer == \"HP\" ? true : true",
                "device.manufacturer == \"Ricoh\"",
                true,
            ),
            (
                "!(device.manufacturer == \"HP\")",
                "device.manufacturer == \"Ricoh\"",
                true,
            ),
        ] {
            assert_eq!(
                conflict(&profile("p", a, "1"), &profile("q", b, "2")).is_some(),
                conflicts,
                "{a} / {b}"
            );
        }
    }

    #[test]
    fn profiles_that_agree_or_have_an_order_are_not() {
        let a = profile("p", "true", "1");
        for b in [
            profile("q", "true", "1"),
            Profile {
                priority: 1,
                ..profile("q", "true", "2")
            },
            Profile {
                disabled: true,
                ..profile("q", "true", "2")
            },
            Profile {
                settings: vec![],
                ..profile("q", "true", "2")
            },
        ] {
            assert_eq!(conflict(&a, &b), None);
        }
    }

    #[test]
    fn profiles_are_checked_by_field() {
        let with = |settings: &[(&str, &str, &str)]| Profile {
            settings: settings
                .iter()
                .map(|(path, value, kind)| Setting {
                    path: (*path).into(),
                    value: (*value).into(),
                    r#type: (*kind).into(),
                })
                .collect(),
            ..profile("p", "true", "")
        };
        for (profile, field) in [
            (profile("p", "", "1"), "profile.selector"),
            (profile("p", "device.colour == 1", "1"), "profile.selector"),
            (profile("p", "device.state ==", "1"), "profile.selector"),
            (with(&[]), "profile.settings"),
            (with(&[("Device.A.", "1", "")]), "profile.settings[0].path"),
            (
                with(&[("Device.A.B", "1", ""), ("Device.A.B", "2", "")]),
                "profile.settings[1].path",
            ),
            (
                with(&[("Device.A.B", "x", "xsd:int")]),
                "profile.settings[0].value",
            ),
        ] {
            let Err(Refusal::Invalid(violations)) = check(&profile) else {
                panic!("{profile:?} accepted")
            };
            assert_eq!(violations[0].field, field);
        }
        assert!(
            check(&profile(
                "p",
                "parameter('Device.X') == 'y' && device.manufacturer == 'HP'",
                "1"
            ))
            .is_ok()
        );
    }
}
