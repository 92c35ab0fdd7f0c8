//! The address of Redis or Valkey: one server, a group watched by Sentinels, or a cluster.

use canon::Secret;

/// The default ports of a server and of a Sentinel.
const PORTS: [u16; 2] = [6379, 26379];

/// The address of Redis or Valkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    /// Over TLS.
    pub tls: bool,
    /// Host and port of each known server or Sentinel.
    pub hosts: Vec<(String, u16)>,
    /// The kind of servers.
    pub form: RedisForm,
    /// The user of an access list.
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// The number of the database; a cluster has only 0.
    pub database: i64,
}

/// The kind of servers in a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisForm {
    Single,
    /// Sentinels, which know the address of the master with this name.
    Sentinel(String),
    Cluster,
}

impl RedisUrl {
    /// Reads `redis://USER:PASSWORD@HOST:PORT/DATABASE`,
    /// `redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/MASTER/DATABASE` or
    /// `redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT`, with `rediss` for TLS. The error does not contain
    /// the URL, which may contain a secret.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or(SCHEMES)?;
        let (tls, form) = match scheme {
            "redis" | "valkey" => (false, RedisForm::Single),
            "rediss" | "valkeys" => (true, RedisForm::Single),
            "redis+sentinel" => (false, RedisForm::Sentinel(String::new())),
            "rediss+sentinel" => (true, RedisForm::Sentinel(String::new())),
            "redis+cluster" => (false, RedisForm::Cluster),
            "rediss+cluster" => (true, RedisForm::Cluster),
            _ => return Err(SCHEMES),
        };
        let (rest, path) = rest.split_once('/').unwrap_or((rest, ""));
        // A password may contain an @, a host does not.
        let (access, hosts) =
            rest.rsplit_once('@').map_or((None, rest), |(access, hosts)| (Some(access), hosts));
        let (user, password) = match access.map(|access| access.split_once(':').unwrap_or((access, ""))) {
            Some((user, password)) => (decoded(user)?, decoded(password)?.map(Secret::new)),
            None => (None, None),
        };
        let port = PORTS[usize::from(matches!(form, RedisForm::Sentinel(_)))];
        let hosts: Result<Vec<_>, _> = hosts.split(',').map(|host| host_and_port(host, port)).collect();
        let hosts = hosts?;
        if form == RedisForm::Single && hosts.len() > 1 {
            return Err("names several servers: say redis+sentinel:// or redis+cluster://");
        }
        let (form, database) = match form {
            RedisForm::Sentinel(_) => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err("has no name of a master: redis+sentinel://HOST:PORT/NAME");
                }
                (RedisForm::Sentinel(master.to_owned()), database)
            }
            form => (form, path),
        };
        let database = if database.is_empty() { Ok(0) } else { database.parse() };
        let database = database.map_err(|_| "does not end with the number of a database")?;
        if form == RedisForm::Cluster && database != 0 {
            return Err("chooses a database, and a cluster has only 0");
        }
        Ok(Self { tls, hosts, form, user, password, database })
    }

    /// The first host, for the log.
    pub fn host(&self) -> &str {
        self.hosts.first().map_or("", |(host, _)| host)
    }
}

const SCHEMES: &str = "is not a Redis URL: redis://HOST:PORT, rediss:// with TLS, redis+sentinel://HOST:PORT/NAME or \
                       redis+cluster://HOST:PORT";

fn host_and_port(text: &str, port: u16) -> Result<(String, u16), &'static str> {
    const WRONG: &str = "has a host or port that cannot be read";
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or(WRONG)?;
            (host, rest.strip_prefix(':').map_or(Ok(port), str::parse))
        }
        None => match text.split_once(':') {
            Some((host, given)) => (host, given.parse()),
            None => (text, Ok(port)),
        },
    };
    match port {
        Ok(port) if !host.is_empty() => Ok((host.to_owned(), port)),
        _ => Err(WRONG),
    }
}

/// A percent-decoded user or password; none when it is empty.
fn decoded(text: &str) -> Result<Option<String>, &'static str> {
    const WRONG: &str = "has a user or password with a % that no two hexadecimal digits follow";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        bytes.push(match byte {
            b'%' => match (digit(rest.next()), digit(rest.next())) {
                (Some(high), Some(low)) => (high * 16 + low) as u8,
                _ => return Err(WRONG),
            },
            other => other,
        });
    }
    let text = String::from_utf8(bytes).map_err(|_| WRONG)?;
    Ok((!text.is_empty()).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_redis_url_is_read() {
        let parse = |text| RedisUrl::parse(text).unwrap();
        let plain = parse("redis://cache");
        assert_eq!((plain.tls, plain.host(), plain.database), (false, "cache", 0));
        assert_eq!(plain.hosts, [("cache".to_owned(), 6379)]);
        let full = parse("rediss://app:p%40ss:w@rd@[::1]:7000/3");
        assert_eq!((full.tls, full.user.as_deref(), full.database), (true, Some("app"), 3));
        assert_eq!(full.password.as_ref().map(Secret::expose), Some("p@ss:w@rd"));
        assert_eq!(full.hosts, [("::1".to_owned(), 7000)]);
        let sentinel = parse("redis+sentinel://:secret@a,b:26380/primary/2");
        assert_eq!(sentinel.form, RedisForm::Sentinel("primary".to_owned()));
        assert_eq!(sentinel.hosts, [("a".to_owned(), 26379), ("b".to_owned(), 26380)]);
        assert_eq!((sentinel.user, sentinel.database), (None, 2));
        assert_eq!(parse("redis+cluster://a:1,b:2").form, RedisForm::Cluster);
        assert!(!format!("{full:?}").contains("p@ss"));
        for (wrong, reason) in [
            ("cache:6379", SCHEMES),
            ("http://cache", SCHEMES),
            ("redis://", "has a host or port that cannot be read"),
            ("redis://cache:port", "has a host or port that cannot be read"),
            ("redis://cache/name", "does not end with the number of a database"),
            ("redis://a,b", "names several servers: say redis+sentinel:// or redis+cluster://"),
            ("redis+sentinel://a", "has no name of a master: redis+sentinel://HOST:PORT/NAME"),
            ("redis+cluster://a/1", "chooses a database, and a cluster has only 0"),
            ("redis://a%4@b", "has a user or password with a % that no two hexadecimal digits follow"),
        ] {
            assert_eq!(RedisUrl::parse(wrong), Err(reason), "{wrong}");
        }
    }
}
