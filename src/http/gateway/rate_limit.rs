//! How often one address, one user and one service key may ask.
//!
//! Answers carry `RateLimit-Policy` and `RateLimit` as in draft-ietf-httpapi-ratelimit-headers-10: `q` calls in `w`
//! seconds; `r` are left, and in `t` seconds all are. A node asks itself first, so that a storm that reaches one node
//! costs nobody else anything; with Redis, it then asks for all nodes. Invariant: what nobody uses is forgotten, so
//! that keys cannot fill the memory.

use std::future::{Ready, ready};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpMessage as _, HttpRequest, web};
use futures_util::future::{Either, LocalBoxFuture};
use tokio::runtime::Handle;

use super::limiter::{Allowance, Limiter, Refused};
use super::shared_limiter::SharedLimiter;
use crate::config::LimitsConfig;
use crate::domain::ids::{ServiceKeyId, UserId};
use crate::error::ApiResult;
use crate::http::client_ip::ClientIp;
use crate::http::web_app;
use crate::providers::redis::Redis;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Logins are worth less to clients and more to guessers: a fifth of what an address may do otherwise.
const AUTH_SHARE: u32 = 5;
const AUTH_PREFIX: &str = "/v1/auth/";
/// What clients use. Anything else is counted on its node alone: a probe does not wait for Redis.
const SHARED_PREFIX: &str = "/v1/";

/// All limits of this node, and its share in those of all nodes. Cheap to clone.
#[derive(Clone)]
pub struct Limiters(Option<Arc<Inner>>);

struct Inner {
    by_ip: Limiter<IpAddr>,
    by_ip_auth: Limiter<IpAddr>,
    by_ip_page: Limiter<IpAddr>,
    by_user: Limiter<UserId>,
    by_service_key: Limiter<ServiceKeyId>,
    by_create: Limiter<UserId>,
    by_confirm: Limiter<UserId>,
    shared: Option<SharedLimiter>,
}

/// A check of a caller that is made already, or that waits for Redis.
pub type Checked = Either<Ready<ApiResult<()>>, LocalBoxFuture<'static, ApiResult<()>>>;

/// What a caller has left of each limit, kept with the request until its answer leaves.
struct CallerAllowances(Vec<Allowance>);

/// What a payer may do only so often: either has a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayerCall {
    Create,
    Confirm,
}

impl Limiters {
    /// Makes the limits, and sweeps them on `io` as long as they are in use. With `redis`, they are those of all nodes
    /// together. Nothing is limited if `config` says so.
    #[must_use]
    pub fn new(config: &LimitsConfig, io: &Handle, redis: Option<Redis>) -> Self {
        if !config.enabled {
            return Self(None);
        }
        let inner = Arc::new(Inner {
            by_ip: Limiter::new("ip", config.requests_per_second_ip, config.burst_ip),
            by_ip_auth: Limiter::new(
                "auth",
                share(config.requests_per_second_ip),
                share(config.burst_ip),
            ),
            by_ip_page: Limiter::new("page", config.requests_per_second_ip, config.burst_ip),
            by_user: Limiter::new("user", config.requests_per_second_user, config.burst_user),
            by_service_key: Limiter::new(
                "service_key",
                config.requests_per_second_service_key,
                config.burst_service_key,
            ),
            by_create: Limiter::per_minute("create", config.payments_per_minute_user),
            by_confirm: Limiter::per_minute("confirm", config.payments_per_minute_user),
            shared: redis.map(SharedLimiter::new),
        });
        io.spawn(sweep(Arc::downgrade(&inner)));

        Self(Some(inner))
    }

    /// Counts a request against its address. `None` when nothing is limited.
    pub(super) async fn check_request(
        &self,
        request: &ServiceRequest,
    ) -> Result<Option<Allowance>, Refused> {
        let Some(limits) = &self.0 else { return Ok(None) };
        let ip = request.extensions().get::<ClientIp>().map(|ClientIp(ip)| network(*ip));
        let Some(ip) = ip else { return Ok(None) };

        // Whoever has called too often can still load the page that says so, and a page with its parts costs no calls.
        if web_app::is_page(request.path()) {
            return limits.by_ip_page.check(&ip).map(Some);
        }
        let of_ip = limits.by_ip.check(&ip)?;
        let is_auth = request.path().starts_with(AUTH_PREFIX);
        let of_auth = is_auth.then(|| limits.by_ip_auth.check(&ip)).transpose()?;
        let is_shared = request.path().starts_with(SHARED_PREFIX);
        let Some(shared) = limits.shared.as_ref().filter(|_| is_shared) else {
            return Ok(Some(of_auth.unwrap_or(of_ip)));
        };
        let told = if let Some(of_auth) = of_auth {
            let [_, of_auth] = shared.check(ip.to_string(), [of_ip, of_auth]).await?;
            of_auth
        } else {
            let [of_ip] = shared.check(ip.to_string(), [of_ip]).await?;
            of_ip
        };
        Ok(Some(told))
    }

    /// Counts a handshake of a socket against its address.
    ///
    /// # Errors
    /// [`crate::error::ApiError::RateLimited`].
    pub async fn check_handshake(&self, ip: IpAddr) -> ApiResult<()> {
        let Some(limits) = &self.0 else { return Ok(()) };
        let ip = network(ip);
        let of_ip = limits.by_ip.check(&ip).map_err(|refused| refused.error())?;
        if let Some(shared) = &limits.shared {
            shared.check(ip.to_string(), [of_ip]).await.map_err(|refused| refused.error())?;
        }
        Ok(())
    }
}

/// Counts a request against its user; to be called once it is known who asks. Refuses with
/// [`crate::error::ApiError::RateLimited`].
pub fn check_user(request: &HttpRequest, user: UserId) -> Checked {
    check_caller(request, |limits| &limits.by_user, user, || user.to_string())
}

/// As [`check_user`], for a service key.
pub fn check_service_key(request: &HttpRequest, key: ServiceKeyId) -> Checked {
    check_caller(request, |limits| &limits.by_service_key, key, || format!("service_key:{key}"))
}

/// Counts a payment that a user begins or confirms, besides [`check_user`]. Refuses as that does.
pub fn check_payer(request: &HttpRequest, user: UserId, call: PayerCall) -> Checked {
    let limiter: fn(&Inner) -> &Limiter<UserId> = match call {
        PayerCall::Create => |limits| &limits.by_create,
        PayerCall::Confirm => |limits| &limits.by_confirm,
    };
    check_caller(request, limiter, user, || user.to_string())
}

/// Counts credentials that were wrong against the address they came from, as an attempt to log in. Refuses with
/// [`crate::error::ApiError::RateLimited`].
pub fn check_wrong_credentials(request: &HttpRequest) -> Checked {
    let ip = request.extensions().get::<ClientIp>().map(|ClientIp(ip)| network(*ip));
    match ip {
        Some(ip) => check_caller(request, |limits| &limits.by_ip_auth, ip, || ip.to_string()),
        None => Either::Left(ready(Ok(()))),
    }
}

/// `whose` names the buckets that all nodes share.
fn check_caller<K: Hash + Eq + Clone>(
    request: &HttpRequest,
    limiter: fn(&Inner) -> &Limiter<K>,
    key: K,
    whose: impl FnOnce() -> String,
) -> Checked {
    let limiters = request.app_data::<web::Data<Limiters>>();
    let Some(limits) = limiters.and_then(|limiters| limiters.0.as_ref()) else {
        return Either::Left(ready(Ok(())));
    };

    match limiter(limits).check(&key) {
        Ok(here) if limits.shared.is_some() => {
            let (request, limits, whose) = (request.clone(), Arc::clone(limits), whose());
            Either::Right(Box::pin(async move {
                let Some(shared) = &limits.shared else { return Ok(()) };
                let outcome = shared.check(whose, [here]).await;
                note_caller(&request, outcome.map(|[allowance]| allowance))
            }))
        }
        outcome => Either::Left(ready(note_caller(request, outcome))),
    }
}

/// Keeps what the caller has left for the answer's headers.
fn note_caller(request: &HttpRequest, outcome: Result<Allowance, Refused>) -> ApiResult<()> {
    let allowance =
        outcome.as_ref().map_or_else(|refused| refused.allowance, |allowance| *allowance);
    let mut extensions = request.extensions_mut();
    match extensions.get_mut::<CallerAllowances>() {
        Some(allowances) => allowances.0.push(allowance),
        None => {
            extensions.insert(CallerAllowances(vec![allowance]));
        }
    }
    drop(extensions);

    outcome.map(|_| ()).map_err(|refused| refused.error())
}

/// Says on an answer what the address and the caller have left.
pub(super) fn write_all(of_ip: Option<Allowance>, response: &mut ServiceResponse<BoxBody>) {
    let extensions = response.request().extensions();
    let of_caller = extensions.get::<CallerAllowances>().map(|left| left.0.clone());
    drop(extensions);
    let allowances: Vec<Allowance> =
        of_ip.into_iter().chain(of_caller.into_iter().flatten()).collect();
    write(&allowances, response.headers_mut());
}

/// Structured fields (RFC 9651): one list member for each limit.
pub(super) fn write(allowances: &[Allowance], headers: &mut HeaderMap) {
    let mut set = |header, member: fn(&Allowance) -> String| {
        let members: Vec<String> = allowances.iter().map(member).collect();
        if let Ok(value) = HeaderValue::from_str(&members.join(", "))
            && !members.is_empty()
        {
            headers.insert(header, value);
        }
    };
    set(POLICY, |a| format!("\"{}\";q={};w={}", a.name, a.quota(), a.window_s()));
    set(LEFT, |a| format!("\"{}\";r={};t={}", a.name, a.remaining, a.reset_s()));
}

/// A household has a whole /64: whoever owns one address of it owns them all.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
    }
}

fn share(whole: NonZeroU32) -> NonZeroU32 {
    NonZeroU32::new(whole.get() / AUTH_SHARE).unwrap_or(NonZeroU32::MIN)
}

async fn sweep(limits: Weak<Inner>) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        let Some(limits) = limits.upgrade() else { return };
        limits.by_ip.sweep();
        limits.by_ip_auth.sweep();
        limits.by_ip_page.sweep();
        limits.by_user.sweep();
        limits.by_service_key.sweep();
        limits.by_create.sweep();
        limits.by_confirm.sweep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::gcra::Rate;

    #[test]
    fn the_headers_are_lists_of_named_limits() {
        let rate = |per_second, burst| {
            Rate::new(NonZeroU32::new(per_second).unwrap(), NonZeroU32::new(burst).unwrap())
        };
        let ip = Allowance { name: "ip", rate: rate(50, 200), remaining: 199 };
        let user = Allowance { name: "user", rate: rate(20, 100), remaining: 0 };
        let mut headers = HeaderMap::new();

        write(&[ip, user], &mut headers);

        assert_eq!(headers.get(POLICY).unwrap(), "\"ip\";q=200;w=4, \"user\";q=100;w=5");
        assert_eq!(headers.get(LEFT).unwrap(), "\"ip\";r=199;t=1, \"user\";r=0;t=5");
    }

    #[test]
    fn neighbours_in_one_v6_network_share() {
        let key = |ip: &str| network(ip.parse().unwrap());

        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:0:0:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    #[test]
    fn a_share_is_never_nothing() {
        assert_eq!(share(NonZeroU32::MIN), NonZeroU32::MIN);
    }
}
