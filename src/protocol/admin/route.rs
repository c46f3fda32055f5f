//! From method and target of a request to what it asks for.

use std::fmt;
use std::net::IpAddr;

use percent_encoding::percent_decode_str;

use super::task::{Filter, Kick, LIST_MAX, List, Sort, Task};
use crate::escape::EscapeControl;
use crate::limits::TIMEOUT_SECS_LIMIT;

/// Connections listed where nothing else is asked for.
const LIST_DEFAULT: usize = 100;

/// Longest name in a filter, in bytes: it is kept while its request waits.
const TEXT_LEN_MAX: usize = 255;

const TOO_LONG: &str = "a name of at most 255 bytes";

/// The resource that a request is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// `/`.
    Page,
    /// `/healthz`.
    Health,
    /// Something that the server has to do.
    Task(Task),
    /// Something behind the token.
    Other,
}

impl Resource {
    /// Whether it needs no token: it tells nothing about clients.
    pub(super) fn is_public(&self) -> bool {
        matches!(self, Resource::Page | Resource::Health | Resource::Task(Task::Ready))
    }

    pub(super) fn is_change(&self) -> bool {
        matches!(self, Resource::Task(task) if task.is_change())
    }
}

/// The reason a request asks for nothing there is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RouteError {
    /// There is no such resource.
    NotFound,
    /// It has other methods: these.
    Method(&'static str),
    /// Its parameters are wrong.
    Query(QueryError),
}

/// An error in the parameters behind `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryError {
    /// There is no such parameter.
    Unknown(String),
    /// It is given twice.
    Repeated(String),
    /// Its value is not what it should be.
    Invalid {
        /// The parameter.
        key: &'static str,
        /// The kind of value it has.
        expected: &'static str,
    },
    /// A sorted list has no further page.
    AfterWithSort,
    /// A kick without a filter would be one of everybody.
    NoFilter,
    /// A ban is one of an address.
    BanWithoutIp,
    /// This build refuses no addresses.
    #[cfg(not(feature = "admission"))]
    NoAdmission,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let mut f = EscapeControl(f);
        match self {
            QueryError::Unknown(key) => write!(f, "no parameter '{key}'"),
            QueryError::Repeated(key) => write!(f, "'{key}' is given twice"),
            QueryError::Invalid { key, expected } => write!(f, "{key} is {expected}"),
            QueryError::AfterWithSort => f.write_str("a sorted list has one page: no after"),
            QueryError::NoFilter => {
                f.write_str("a filter is needed: listener, ip, name, min_idle or min_queue")
            }
            QueryError::BanWithoutIp => f.write_str("ban needs ip"),
            #[cfg(not(feature = "admission"))]
            QueryError::NoAdmission => f.write_str("this build cannot ban addresses"),
        }
    }
}

impl From<QueryError> for RouteError {
    fn from(error: QueryError) -> Self {
        RouteError::Query(error)
    }
}

/// Finds what a request asks for.
pub(super) fn route(method: &str, target: &str) -> Result<Resource, RouteError> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let get = |resource: Resource| match method {
        "GET" | "HEAD" => Ok(resource),
        _ => Err(RouteError::Method("GET, HEAD")),
    };
    let post = |task: Task| match method {
        "POST" => Ok(Resource::Task(task)),
        _ => Err(RouteError::Method("POST")),
    };
    match path {
        "/" => get(Resource::Page),
        "/healthz" => get(Resource::Health),
        "/readyz" => get(Resource::Task(Task::Ready)),
        "/status" => get(Resource::Task(Task::Status)),
        "/metrics" => get(Resource::Task(Task::Metrics)),
        "/reload" => post(Task::Reload),
        "/drain" => post(Task::Drain { is_on: true }),
        "/undrain" => post(Task::Drain { is_on: false }),
        "/connections" => match method {
            "GET" | "HEAD" => Ok(Resource::Task(Task::List(list(query)?))),
            "DELETE" => Ok(Resource::Task(Task::Kick(kick(query, None)?))),
            _ => Err(RouteError::Method("GET, HEAD, DELETE")),
        },
        _ => match path.strip_prefix("/connections/").map(str::parse) {
            Some(Ok(id)) if method == "DELETE" => {
                Ok(Resource::Task(Task::Kick(kick(query, Some(id))?)))
            }
            Some(Ok(_)) => Err(RouteError::Method("DELETE")),
            _ => Err(RouteError::NotFound),
        },
    }
}

fn list(query: &str) -> Result<List, QueryError> {
    let mut list = List { filter: Filter::default(), sort: None, limit: LIST_DEFAULT, after: 0 };
    for_each(query, |key, value| {
        match key {
            "sort" => {
                list.sort = Some(match value {
                    "idle" => Sort::Idle,
                    "queue" => Sort::Queue,
                    _ => return Err(invalid("sort", "idle or queue")),
                });
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| *limit <= LIST_MAX);
                list.limit = limit.ok_or(invalid("limit", "a number up to 1000"))?;
            }
            "after" => {
                let cursor = u32::from_str_radix(value, 16).ok().filter(|_| value.len() == 8);
                list.after = cursor.ok_or(invalid("after", "the `next` of a list"))?;
            }
            _ => return set(&mut list.filter, key, value),
        }
        Ok(true)
    })?;
    if list.sort.is_some() && list.after > 0 {
        return Err(QueryError::AfterWithSort);
    }
    Ok(list)
}

fn kick(query: &str, id: Option<u32>) -> Result<Kick, QueryError> {
    let (mut filter, mut ban_secs) = (Filter::default(), None);
    for_each(query, |key, value| match key {
        "ban" => {
            let secs = value.parse().ok().filter(|secs| (1..=TIMEOUT_SECS_LIMIT).contains(secs));
            ban_secs = Some(secs.ok_or(invalid("ban", "seconds from 1 to 31536000"))?);
            Ok(true)
        }
        _ => set(&mut filter, key, value),
    })?;
    if ban_secs.is_some() && filter.ip.is_none() {
        return Err(QueryError::BanWithoutIp);
    }
    #[cfg(not(feature = "admission"))]
    if ban_secs.is_some() {
        return Err(QueryError::NoAdmission);
    }
    filter.id = id;
    if filter.is_empty() {
        return Err(QueryError::NoFilter);
    }
    Ok(Kick { filter, ban_secs })
}

/// Sets a parameter of a filter. False where it has none of that name.
fn set(filter: &mut Filter, key: &str, value: &str) -> Result<bool, QueryError> {
    match key {
        "listener" if value.len() > TEXT_LEN_MAX => return Err(invalid("listener", TOO_LONG)),
        "name" if value.len() > TEXT_LEN_MAX => return Err(invalid("name", TOO_LONG)),
        "listener" => filter.listener = Some(value.to_owned()),
        "name" => filter.name = Some(value.to_owned()),
        "ip" => {
            let ip = value.parse::<IpAddr>().map_err(|_| invalid("ip", "an IP address"))?;
            filter.ip = Some(ip.to_canonical());
        }
        "min_idle" => {
            filter.min_idle_secs =
                value.parse().map_err(|_| invalid("min_idle", "a number of seconds"))?;
        }
        "min_queue" => {
            filter.min_queue_bytes =
                value.parse().map_err(|_| invalid("min_queue", "a number of bytes"))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

const fn invalid(key: &'static str, expected: &'static str) -> QueryError {
    QueryError::Invalid { key, expected }
}

/// Calls `set` with each parameter, decoded. A parameter without a value is one that is not given,
/// as in a form whose field is empty.
fn for_each(
    query: &str,
    mut set: impl FnMut(&str, &str) -> Result<bool, QueryError>,
) -> Result<(), QueryError> {
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decode(key), decode(value));
        if seen.contains(&key) {
            return Err(QueryError::Repeated(key));
        }
        if value.is_empty() && is_known(&key) {
            continue;
        }
        if !set(&key, &value)? {
            return Err(QueryError::Unknown(key));
        }
        seen.push(key);
    }
    Ok(())
}

fn is_known(key: &str) -> bool {
    const KEYS: [&str; 9] =
        ["listener", "ip", "name", "min_idle", "min_queue", "sort", "limit", "after", "ban"];
    KEYS.contains(&key)
}

/// `application/x-www-form-urlencoded`, as URLSearchParams writes it.
fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(query: &str) -> List {
        match route("GET", &format!("/connections?{query}")) {
            Ok(Resource::Task(Task::List(list))) => list,
            other => panic!("{query}: {other:?}"),
        }
    }

    #[test]
    fn list_has_filters_order_and_pages() {
        let all = List { filter: Filter::default(), sort: None, limit: 100, after: 0 };
        assert_eq!(listed(""), all);
        assert_eq!(listed("listener=&sort=&ip="), all);
        let list = listed(
            "listener=chat-2&ip=%3A%3Affff%3A10.0.0.1&name=a+b%2Bc&min_idle=60&min_queue=1&limit=5\
             &after=000000ff",
        );
        let filter = Filter {
            id: None,
            listener: Some("chat-2".into()),
            ip: Some([10, 0, 0, 1].into()),
            name: Some("a b+c".into()),
            min_idle_secs: 60,
            min_queue_bytes: 1,
        };
        assert_eq!(list, List { filter, sort: None, limit: 5, after: 255 });
        assert_eq!(listed("sort=queue").sort, Some(Sort::Queue));
    }

    #[test]
    fn wrong_parameters_are_named() {
        for (target, error) in [
            ("/connections?limit=1001", "limit is a number up to 1000"),
            ("/connections?limit=-1", "limit is a number up to 1000"),
            ("/connections?sort=id", "sort is idle or queue"),
            ("/connections?ip=localhost", "ip is an IP address"),
            ("/connections?min_idle=x", "min_idle is a number of seconds"),
            ("/connections?after=ff", "after is the `next` of a list"),
            ("/connections?after=+00000ff", "after is the `next` of a list"),
            ("/connections?sort=idle&after=00000001", "a sorted list has one page: no after"),
            ("/connections?lim%0Ait=1", "no parameter 'lim\\nit'"),
            ("/connections?ban=5", "no parameter 'ban'"),
            ("/connections?name=a&name=b", "'name' is given twice"),
            (
                &format!("/connections?name={}", "x".repeat(256)),
                "name is a name of at most 255 bytes",
            ),
        ] {
            match route("GET", target) {
                Err(RouteError::Query(found)) => assert_eq!(found.to_string(), error, "{target}"),
                other => panic!("{target}: {other:?}"),
            }
        }
    }

    #[test]
    fn kick_needs_a_filter_and_a_ban_an_address() {
        let kicked = |target: &str| match route("DELETE", target) {
            Ok(Resource::Task(Task::Kick(kick))) => Ok(kick),
            Err(RouteError::Query(error)) => Err(error),
            other => panic!("{target}: {other:?}"),
        };
        assert_eq!(kicked("/connections"), Err(QueryError::NoFilter));
        assert_eq!(kicked("/connections?min_idle=0"), Err(QueryError::NoFilter));
        assert_eq!(kicked("/connections?name=a&ban=5"), Err(QueryError::BanWithoutIp));
        assert_eq!(
            kicked("/connections?limit=5&name=a"),
            Err(QueryError::Unknown("limit".to_owned()))
        );
        assert_eq!(kicked("/connections/17").unwrap().filter.id, Some(17));
        #[cfg(feature = "admission")]
        assert_eq!(kicked("/connections?ip=::1&ban=5").unwrap().ban_secs, Some(5));
    }

    #[test]
    fn paths_and_methods_are_exact() {
        for (method, target, error) in [
            ("GET", "/x", RouteError::NotFound),
            ("GET", "/Status", RouteError::NotFound),
            ("GET", "//status", RouteError::NotFound),
            ("GET", "/connections/x", RouteError::NotFound),
            ("DELETE", "/connections/-1", RouteError::NotFound),
            ("GET", "/connections/1", RouteError::Method("DELETE")),
            ("POST", "/status", RouteError::Method("GET, HEAD")),
            ("GET", "/drain", RouteError::Method("POST")),
            ("get", "/", RouteError::Method("GET, HEAD")),
            ("OPTIONS", "/reload", RouteError::Method("POST")),
        ] {
            assert_eq!(route(method, target), Err(error), "{method} {target}");
        }
        assert_eq!(route("HEAD", "/?x"), Ok(Resource::Page));
    }
}
