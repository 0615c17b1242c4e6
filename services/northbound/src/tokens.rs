//! API tokens: made, listed, deleted; and whom a presented one stands for.
//!
//! A token is `pt_` and 32 random bytes in URL-safe base64. Only its SHA-256 is stored, which is enough: it cannot be guessed, so that a slow
//! hash would protect nothing.

use crate::{
    api::{Api, random},
    caller::{Caller, Role},
    names, page,
    refusal::Refusal,
    time,
};
use platen_fleet::device::timestamp;
use platen_ids::TenantId;
use platen_proto::{
    store::v1::TokenRow,
    tenant::v1::{
        CreateTokenRequest, DeleteTokenRequest, ListTokensRequest, ListTokensResponse, Tenant,
        Token, token, token_service_server::TokenService,
    },
};
use platen_store::{
    Store,
    rows::SwappedRow,
    table::{Expect, Range},
    tables::{Tenants, Tokens, TokensOfTenant},
};
use sha2::{Digest, Sha256};
use std::{sync::Arc, time::Duration};
use tonic::{Request, Response, Status};

/// What every token begins with, so that it is recognised where it should not be.
const PREFIX: &str = "pt_";

/// How long a token that was looked up is believed: the longest time between its deletion and its end.
const BELIEVED: Duration = Duration::from_secs(5);

/// Tokens that are remembered at a time.
const REMEMBERED: u64 = 10_000;

/// Finds out who calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Authenticator {
    store: Store,
    known: moka::future::Cache<String, Arc<TokenRow>>,
}

impl Authenticator {
    /// Over the tokens of `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            store,
            known: moka::future::Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(BELIEVED)
                .build(),
        }
    }

    /// Whether this `Authorization` header has a token that holds, of whatever tenant and role: for what shows no tenant's data.
    ///
    /// # Errors
    ///
    /// 401 if it has not; 503 if the store cannot tell.
    pub async fn admits(
        &self,
        authorization: Option<&str>,
        now_us: i64,
    ) -> Result<(), http::StatusCode> {
        match self.authenticate(authorization, now_us).await {
            Ok(_) => Ok(()),
            Err(Refusal::Unauthenticated(_)) => Err(http::StatusCode::UNAUTHORIZED),
            Err(_) => Err(http::StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    /// The caller who presents this `Authorization` header.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthenticated`] with the same words for every token that does not hold; [`Refusal::Unavailable`] if the store cannot tell.
    pub(crate) async fn authenticate(
        &self,
        authorization: Option<&str>,
        now_us: i64,
    ) -> Result<Caller, Refusal> {
        let authorization = authorization.ok_or(Refusal::Unauthenticated(
            "present a token: Authorization: Bearer …",
        ))?;
        let token = authorization
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .filter(|token| token.starts_with(PREFIX) && token.len() < 100)
            .ok_or(UNKNOWN)?;
        self.holder(&hash(token), now_us).await
    }

    /// The caller whose token has this hash, as long as it holds.
    ///
    /// # Errors
    ///
    /// As [`Self::authenticate`].
    pub(crate) async fn holder(&self, hash: &str, now_us: i64) -> Result<Caller, Refusal> {
        let row = match self.known.get(hash).await {
            Some(row) => row,
            None => {
                // What is not found is not remembered: guesses must not push real tokens out.
                let row = Arc::new(
                    self.store
                        .get_edited::<Tokens>(hash)
                        .await?
                        .ok_or(UNKNOWN)?
                        .value,
                );
                self.known.insert(hash.to_owned(), Arc::clone(&row)).await;
                row
            }
        };
        if row.expire_time_us != 0 && row.expire_time_us <= now_us {
            return Err(UNKNOWN);
        }
        let role = row
            .token
            .as_ref()
            .and_then(|token| Role::of(token.role()))
            .ok_or(UNKNOWN)?;
        let tenant =
            TenantId::new(&row.tenant).map_err(|error| Refusal::Internal(error.to_string()))?;
        Ok(Caller {
            tenant,
            role,
            user: row.user.clone(),
            token: hash.to_owned(),
        })
    }
}

const UNKNOWN: Refusal = Refusal::Unauthenticated("the token is unknown or has expired");

/// Makes and stores a token; the answer has its secret.
///
/// The row in the list is written first: a crash in between leaves a token that is listed and does not hold.
pub(crate) async fn issue(
    store: &Store,
    tenant: &TenantId,
    id: &str,
    user: &str,
    asked: Token,
    now_us: i64,
) -> Result<Token, Refusal> {
    let secret = format!("{PREFIX}{}", random(32));
    let expire_time_us = asked.expire_time.as_ref().map_or(0, time::micros);
    let token = Token {
        name: names::of(tenant, "tokens", id),
        create_time: timestamp(now_us),
        secret: String::new(),
        ..asked
    };
    let row = TokenRow {
        tenant: tenant.to_string(),
        token: Some(token.clone()),
        user: user.to_owned(),
        expire_time_us,
        etag: String::new(),
        hash: hash(&secret),
    };
    match store
        .compare_and_set::<TokensOfTenant>((tenant.as_str(), id), Expect::Absent, Some(&row))
        .await?
    {
        SwappedRow::Done(_) => {}
        SwappedRow::Refused(_) => {
            return Err(Refusal::Exists {
                code: "TOKEN_EXISTS",
                message: format!("{} exists already", token.name),
            });
        }
    }
    match store
        .compare_and_set::<Tokens>(&row.hash, Expect::Absent, Some(&row))
        .await?
    {
        SwappedRow::Done(_) => Ok(Token { secret, ..token }),
        SwappedRow::Refused(_) => Err(Refusal::Internal("two tokens have one hash".to_owned())),
    }
}

/// Lower-case hexadecimal SHA-256.
fn hash(token: &str) -> String {
    crate::hex(&Sha256::digest(token))
}

/// `platen.tenant.v1.TokenService`.
#[derive(Debug, Clone)]
pub(crate) struct TokenApi(pub(crate) Arc<Api>);

#[tonic::async_trait]
impl TokenService for TokenApi {
    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<Token>, Status> {
        let caller = Caller::of(&request)?;
        let CreateTokenRequest { parent, token } = request.into_inner();
        let tenant = names::tenant(&parent)?;
        caller.enters(&tenant, &parent)?;
        crate::tenants::exists(&self.0.store, &tenant).await?;
        let asked = token.unwrap_or_default();
        let now_us = Api::now_us();
        let role = Role::of(asked.role())
            .ok_or_else(|| Refusal::field("token.role", "must be VIEWER, OPERATOR or ADMIN"))?;
        if role > caller.role {
            return Err(Refusal::Forbidden(format!(
                "a token cannot make one that may more than itself ({:?})",
                asked.role()
            ))
            .into());
        }
        if asked
            .expire_time
            .as_ref()
            .is_some_and(|time| time::micros(time) <= now_us)
        {
            return Err(Refusal::field("token.expireTime", "must be in the future").into());
        }
        if asked.display_name.chars().count() > 200 {
            return Err(
                Refusal::field("token.displayName", "must have at most 200 characters").into(),
            );
        }
        let fallback = ulid::Ulid::generate().to_string().to_ascii_lowercase();
        let id = names::chosen(&asked.name, "token.name", &tenant, "tokens", "", &fallback)?;
        let token = issue(
            &self.0.store,
            &tenant,
            &id,
            &format!("users/{id}"),
            asked,
            now_us,
        )
        .await?;
        Ok(Response::new(token))
    }

    async fn list_tokens(
        &self,
        request: Request<ListTokensRequest>,
    ) -> Result<Response<ListTokensResponse>, Status> {
        let caller = Caller::of(&request)?;
        let asked = request.into_inner();
        let tenant = names::tenant(&asked.parent)?;
        caller.enters(&tenant, &asked.parent)?;
        let page = page::Asked {
            query: &["tokens", &asked.parent],
            size: (asked.page_size, 100, 1000),
            token: &asked.page_token,
        };
        let (rows, next_page_token) =
            page::edited::<TokensOfTenant>(&self.0.store, (tenant.as_str(), ""), page).await?;
        let tokens = rows.into_iter().filter_map(|row| row.value.token).collect();
        Ok(Response::new(ListTokensResponse {
            tokens,
            next_page_token,
        }))
    }

    async fn delete_token(
        &self,
        request: Request<DeleteTokenRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let (tenant, id) = names::child(&name, "tokens")?;
        caller.enters(&tenant, &name)?;
        let store = &self.0.store;
        let key = (tenant.as_str(), id.as_str());
        let row = store
            .get_edited::<TokensOfTenant>(key)
            .await
            .map_err(Refusal::from)?
            .ok_or_else(|| Refusal::NotFound(name.clone()))?;
        let role = row
            .value
            .token
            .as_ref()
            .and_then(|token| Role::of(token.role()));
        if role > Some(caller.role) {
            return Err(Refusal::Forbidden(
                "a token cannot delete one that may more than itself".to_owned(),
            )
            .into());
        }
        if row.value.hash == caller.token {
            let message = "a token cannot delete itself: use another one".to_owned();
            return Err(Refusal::Precondition {
                code: "TOKEN_IN_USE",
                message,
            }
            .into());
        }
        // First what lets in, then what is listed: a crash in between leaves something that can be deleted again.
        store
            .compare_and_set::<Tokens>(&row.value.hash, Expect::Any, None)
            .await
            .map_err(Refusal::from)?;
        store
            .compare_and_set::<TokensOfTenant>(key, Expect::Any, None)
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(()))
    }
}

/// Prepares a store that is used for the first time: makes the administrator's token, hands its secret to `keep`, and then makes the tenant
/// `default`, which marks the store as used. Returns whether it did.
///
/// A crash on the way leaves a store that is still unused: the next start makes another token, and the one before does not hold.
///
/// # Errors
///
/// The store is away, or `keep` failed.
pub async fn bootstrap(
    store: &Store,
    keep: impl FnOnce(&str) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let tenant = TenantId::new("default")?;
    let used = store
        .scan_edited::<Tenants>(
            "",
            Range {
                limit: 1,
                ..Range::default()
            },
        )
        .await?;
    if !used.rows.is_empty() {
        return Ok(false);
    }
    let key = (tenant.as_str(), "admin");
    if let Some(left) = store.get_edited::<TokensOfTenant>(key).await? {
        store
            .compare_and_set::<Tokens>(&left.value.hash, Expect::Any, None)
            .await?;
        store
            .compare_and_set::<TokensOfTenant>(key, Expect::Any, None)
            .await?;
    }
    let now_us = Api::now_us();
    let asked = Token {
        display_name: "administrator".to_owned(),
        role: token::Role::Admin.into(),
        ..Token::default()
    };
    let token = issue(store, &tenant, "admin", "users/admin", asked, now_us).await?;
    keep(&token.secret)?;
    crate::tenants::create(
        store,
        Tenant {
            name: names::of_tenant(&tenant),
            display_name: "Default".to_owned(),
            ..Tenant::default()
        },
        now_us,
    )
    .await?;
    Ok(true)
}
