//! Who a device is: HTTP authentication against the credentials of its tenant.
//!
//! The order makes attacks cheap to refuse: a forged nonce costs one HMAC and no look-up; a look-up is cached and only so many of an address may fail; an
//! unknown user name and a wrong password look the same, in what is answered and in what it costs.

use crate::{
    changes::{Changes, Marked},
    config::{Auth, Limits, Scheme},
    reach::Kept,
    throttle::Throttle,
};
use http::HeaderValue;
use platen_bus::{From, Log};
use platen_cwmp::digest::{
    self, Algorithm, Authorization, BasicAuthorization, Challenge, DigestAuthorization, NonceKey,
    NonceState, Secret, basic_challenge,
};
use platen_cwmp::identity::Identity;
use platen_proto::{store::v1::Credential, topic::Topic};
use platen_runtime::{Keys, Recent};
use platen_store::{Error, Store, tables::Credentials};
use prost::Message;
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The realm; never changes, since some devices store hashes that contain it (SEC-05).
pub(crate) const REALM: &str = "platen";

/// Bytes of credentials that are remembered: twenty to forty thousand.
const ACCOUNTS: u64 = 32 << 20;

/// Bytes of nonces whose counts are remembered: some fifty thousand.
const NONCES: u64 = 16 << 20;

/// One more attempt after so long.
const REFILL_PEER: Duration = Duration::from_millis(100);
const REFILL_USER: Duration = Duration::from_secs(5);

/// A user name with what belongs to it.
pub(crate) struct Account {
    pub(crate) credential: Credential,
    password: String,
}

impl Account {
    /// Bytes in memory, about: what texts hold is what they take on the wire.
    fn weight(&self) -> usize {
        size_of::<Self>() + self.credential.encoded_len() + self.password.len()
    }
}

/// Without the password.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("username", &self.credential.username)
            .finish_non_exhaustive()
    }
}

/// What a request proves about who sent it.
#[derive(Debug)]
pub(crate) enum Proof {
    /// It knows the password.
    Known(Arc<Account>),
    /// It proves nothing.
    None(Unproven),
}

/// Why a request proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unproven {
    /// It does not try, or not in a way that is accepted.
    Missing,
    /// Its nonce is too old, or was used before.
    Stale,
    /// Its nonce is not ours.
    Forged,
    /// Nobody has that name.
    UnknownUser,
    /// The password is another one.
    WrongPassword,
    /// There were too many failures: to be tried again after this time.
    Throttled(Duration),
}

impl Unproven {
    pub(crate) const fn outcome(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Stale => "stale",
            Self::Forged => "forged",
            Self::UnknownUser => "unknown_user",
            Self::WrongPassword => "wrong_password",
            Self::Throttled(_) => "throttled",
        }
    }
}

/// A request, as far as authentication is concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) authorization: Option<&'a HeaderValue>,
    pub(crate) target: &'a str,
    pub(crate) peer: IpAddr,
    pub(crate) tls: bool,
    /// Seconds since 1970.
    pub(crate) now: u64,
}

/// Judges what devices present.
pub(crate) struct Authenticator {
    store: Store,
    keys: Arc<Keys>,
    nonces: NonceKey,
    config: Auth,
    accounts: Recent<(String, String), Marked<Arc<Account>>>,
    changes: Arc<Changes>,
    /// Highest count seen of each nonce (SEC-03).
    counts: Recent<String, u32>,
    by_peer: Throttle<IpAddr>,
    by_user: Throttle<(String, String, IpAddr)>,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authenticator")
    }
}

impl Authenticator {
    pub(crate) fn new(
        store: Store,
        keys: Arc<Keys>,
        changes: Arc<Changes>,
        config: Auth,
        limits: &Limits,
    ) -> Self {
        let nonces = NonceKey::new(keys.derive(&[b"edge nonce"]));
        Self {
            store,
            keys,
            nonces,
            accounts: Recent::new(ACCOUNTS, |(tenant, username), (known, _)| {
                tenant.capacity() + username.capacity() + known.value.weight()
            }),
            changes,
            counts: Recent::new(NONCES, |nonce, _| nonce.capacity()),
            by_peer: Throttle::new(limits.failures_per_peer, REFILL_PEER, |_, _| 0),
            by_user: Throttle::new(
                limits.failures_per_user,
                REFILL_USER,
                |(tenant, username, _), _| tenant.capacity() + username.capacity(),
            ),
            config,
        }
    }

    /// The values of the `WWW-Authenticate` headers, in the order that devices understand (SEC-02).
    pub(crate) fn challenges(
        &self,
        tenant: &str,
        schemes: &[Scheme],
        tls: bool,
        stale: bool,
        now: u64,
    ) -> Vec<HeaderValue> {
        let digest = |algorithm| {
            let nonce = self.nonces.issue(now, rand::random(), tenant.as_bytes());
            Challenge {
                stale,
                ..Challenge::new(REALM, nonce, algorithm)
            }
            .to_header()
        };
        let mut challenges = Vec::with_capacity(schemes.len());
        if schemes.contains(&Scheme::DigestSha256) {
            challenges.push(digest(Algorithm::Sha256));
        }
        if schemes.contains(&Scheme::DigestMd5) {
            challenges.push(digest(Algorithm::Md5));
        }
        if schemes.contains(&Scheme::Basic) && self.may_basic(tls) {
            challenges.push(basic_challenge(REALM));
        }
        challenges
            .into_iter()
            .filter_map(|challenge| HeaderValue::try_from(challenge).ok())
            .collect()
    }

    /// Whether a request may turn out to prove something: it shows a nonce of ours, or a password where that is accepted. Takes no look-up.
    pub(crate) fn is_credible(&self, claim: Claim<'_>) -> bool {
        match claim
            .authorization
            .and_then(|header| Authorization::parse(header.to_str().ok()?).ok())
        {
            None => false,
            Some(Authorization::Basic(basic)) => self.may_basic(claim.tls) && !basic.is_empty(),
            Some(Authorization::Digest(digest)) => {
                let lifetime = self.config.nonce_lifetime.as_secs();
                self.nonces
                    .check(&digest.nonce, claim.now, lifetime, claim.tenant.as_bytes())
                    != NonceState::Forged
            }
        }
    }

    /// Judges a request.
    ///
    /// # Errors
    ///
    /// The store's: nothing is known then.
    pub(crate) async fn judge(&self, claim: Claim<'_>, schemes: &[Scheme]) -> Result<Proof, Error> {
        let Some(authorization) = claim.authorization.and_then(|header| header.to_str().ok())
        else {
            return Ok(Proof::None(Unproven::Missing));
        };
        match Authorization::parse(authorization) {
            Ok(Authorization::Digest(digest)) => self.judge_digest(claim, &digest, schemes).await,
            Ok(Authorization::Basic(basic))
                if schemes.contains(&Scheme::Basic)
                    && self.may_basic(claim.tls)
                    && !basic.is_empty() =>
            {
                self.judge_basic(claim, &basic).await
            }
            // An empty name with an empty password is sent before asking, and no attempt (SEC-06).
            Ok(Authorization::Basic(_)) | Err(_) => Ok(Proof::None(Unproven::Missing)),
        }
    }

    /// Follows the changes of devices, so that credentials that were changed or retired are not taken from memory, until `stop`.
    pub(crate) async fn follow(&self, log: Arc<dyn Log>, stop: CancellationToken) {
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.follow_until_error(&*log) => ended,
            };
            tracing::warn!(error = %ended, "cannot follow changes of devices; credentials are looked up anew");
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    async fn follow_until_error(&self, log: &dyn Log) -> platen_bus::Error {
        let mut follower = match log.follow(&[Topic::Devices], From::Now).await {
            Ok(follower) => follower,
            Err(error) => return error,
        };
        // What changed while nobody followed is not known.
        self.changes.missed();
        loop {
            match follower.next(512).await {
                Ok(records) => {
                    for record in records {
                        self.changes.changed(&record.record.key);
                    }
                }
                Err(error) => return error,
            }
        }
    }

    const fn may_basic(&self, tls: bool) -> bool {
        tls || self.config.basic_on_plaintext
    }

    async fn judge_digest(
        &self,
        claim: Claim<'_>,
        digest: &DigestAuthorization,
        schemes: &[Scheme],
    ) -> Result<Proof, Error> {
        let mut algorithms = Vec::with_capacity(2);
        for (scheme, algorithm) in [
            (Scheme::DigestSha256, Algorithm::Sha256),
            (Scheme::DigestMd5, Algorithm::Md5),
        ] {
            if schemes.contains(&scheme) {
                algorithms.push(algorithm);
            }
        }
        if algorithms.is_empty() {
            return Ok(Proof::None(Unproven::Missing));
        }
        let lifetime = self.config.nonce_lifetime.as_secs();
        match self
            .nonces
            .check(&digest.nonce, claim.now, lifetime, claim.tenant.as_bytes())
        {
            NonceState::Fresh => {}
            NonceState::Stale => return Ok(Proof::None(Unproven::Stale)),
            NonceState::Forged => return Ok(Proof::None(Unproven::Forged)),
        }
        // Without a count a nonce is good for one request.
        let count = digest.nonce_count().unwrap_or(u32::MAX);
        if self
            .counts
            .get(&digest.nonce)
            .is_some_and(|seen| count <= seen)
        {
            return Ok(Proof::None(Unproven::Stale));
        }
        let policy = digest::Policy {
            realm: REALM,
            algorithms: &algorithms,
            legacy: true,
        };
        let knows = |password: &str| {
            digest
                .verify(Secret::Password(password), "POST", claim.target, &policy)
                .is_ok()
        };
        let proof = self.judge_password(claim, &digest.username, knows).await?;
        if !matches!(proof, Proof::Known(_)) {
            return Ok(proof);
        }
        // Checked again as it is set: of two requests with one count, at the same time, one is good.
        let mut is_new = false;
        self.counts.update(digest.nonce.clone(), |seen| {
            is_new = seen.is_none_or(|seen| count > seen);
            seen.map_or(count, |seen| seen.max(count))
        });
        Ok(if is_new {
            proof
        } else {
            Proof::None(Unproven::Stale)
        })
    }

    async fn judge_basic(
        &self,
        claim: Claim<'_>,
        basic: &BasicAuthorization,
    ) -> Result<Proof, Error> {
        self.judge_password(claim, &basic.username, |password| basic.verify(password))
            .await
    }

    async fn judge_password(
        &self,
        claim: Claim<'_>,
        username: &str,
        knows: impl Fn(&str) -> bool,
    ) -> Result<Proof, Error> {
        let now = Instant::now();
        let peer = one_peer(claim.peer);
        let counted = canonical(username).unwrap_or_else(|| username.to_owned());
        let user = (claim.tenant.to_owned(), counted, peer);
        for check in [
            self.by_peer.check(&peer, now),
            self.by_user.check(&user, now),
        ] {
            if let Err(wait) = check {
                return Ok(Proof::None(Unproven::Throttled(wait)));
            }
        }
        let unproven = match self.account(claim.tenant, username).await? {
            Some((account, _)) if knows(&account.password) => return Ok(Proof::Known(account)),
            // The password may have been changed since it was looked up. With the store away, it has not, or nobody can say: no guess goes uncounted.
            Some((_, Source::Memory)) => match self.load(claim.tenant, username).await {
                Ok(Some(account)) if knows(&account.password) => return Ok(Proof::Known(account)),
                Ok(_) => Unproven::WrongPassword,
                Err(error) if error.is_transient() => Unproven::WrongPassword,
                Err(error) => return Err(error),
            },
            Some((_, Source::Store)) => Unproven::WrongPassword,
            None => {
                // As much work as with a user that exists.
                knows("no password has a line feed\n");
                Unproven::UnknownUser
            }
        };
        self.by_peer.failed(peer, now);
        self.by_user.failed(user, now);
        Ok(Proof::None(unproven))
    }

    /// An account, from memory if it was looked up a moment ago, or if the store is away.
    async fn account(
        &self,
        tenant: &str,
        username: &str,
    ) -> Result<Option<(Arc<Account>, Source)>, Error> {
        let key = (tenant.to_owned(), username.to_owned());
        let known = self.accounts.get(&key).or_else(|| {
            // One entry for an account, however its name is spelt.
            let canonical = canonical(username).filter(|canonical| canonical != username)?;
            self.accounts.get(&(tenant.to_owned(), canonical))
        });
        let known = known.filter(|(known, mark)| {
            let device = format!("{tenant}/{}", known.value.credential.device);
            !self.changes.since(&device, *mark)
        });
        let known = known.map(|(known, _)| known);
        if let Some(known) = &known
            && known.is_fresh(self.config.cache)
        {
            return Ok(Some((Arc::clone(&known.value), Source::Memory)));
        }
        match (self.load(tenant, username).await, known) {
            (Ok(account), _) => Ok(account.map(|account| (account, Source::Store))),
            (Err(error), Some(known)) => {
                let account = known.in_place_of(error)?;
                Ok(Some((account, Source::Memory)))
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Looks an account up. Who does not exist is not remembered, so that a device can call the moment it is registered.
    async fn load(&self, tenant: &str, username: &str) -> Result<Option<Arc<Account>>, Error> {
        let (read, mark) = (Instant::now(), self.changes.mark());
        let key = (tenant.to_owned(), username.to_owned());
        let mut row = self
            .store
            .get_edited::<Credentials>((tenant, username))
            .await?;
        if row.is_none()
            && let Some(canonical) = canonical(username).filter(|canonical| canonical != username)
        {
            row = self
                .store
                .get_edited::<Credentials>((tenant, &canonical))
                .await?;
        }
        let Some(row) = row else {
            self.accounts.remove(&key);
            if let Some(canonical) = canonical(username) {
                self.accounts.remove(&(tenant.to_owned(), canonical));
            }
            return Ok(None);
        };
        let credential = row.value;
        let aad = format!("credential/{tenant}/{}", credential.username);
        let password = self
            .keys
            .open(&aad, &credential.password_sealed)
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(password) = password else {
            let what = format!(
                "the password of {username:?} in tenant {tenant} cannot be opened with this key file"
            );
            return Err(Error::Corrupt {
                table: "credentials",
                what,
            });
        };
        let account = Arc::new(Account {
            credential,
            password,
        });
        let known = Kept {
            value: Arc::clone(&account),
            read,
        };
        let key = (tenant.to_owned(), account.credential.username.clone());
        self.accounts.insert(key, (known, mark));
        Ok(Some(account))
    }
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Memory,
    Store,
}

/// The user name of an `Authorization` header, whatever it proves.
pub(crate) fn username(authorization: &HeaderValue) -> Option<String> {
    match Authorization::parse(authorization.to_str().ok()?).ok()? {
        Authorization::Digest(digest) => Some(digest.username),
        Authorization::Basic(basic) if basic.is_empty() => None,
        Authorization::Basic(basic) => Some(basic.username),
    }
}

/// Whether two user names are of one device: percent-encoding may be written in several ways (TR-069 3.4.4).
pub(crate) fn is_same_user(one: &str, other: &str) -> bool {
    one == other || canonical(one).is_some_and(|one| one == canonical(other).unwrap_or_default())
}

/// The name as Platen writes it, of one that is a device's identity.
fn canonical(username: &str) -> Option<String> {
    let identity = Identity::parse(username).ok()?;
    Some(identity.to_string())
}

/// What counts as one peer: an IPv4 address, or an IPv6 /64.
fn one_peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let mut segments = v6.segments();
            segments[4..].fill(0);
            IpAddr::V6(Ipv6Addr::from(segments))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}
