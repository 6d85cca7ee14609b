//! Topology: which Redis server has which partitions, asked anew whenever a connection was lost.
//!
//! One server has them all; so does the master that sentinels name; in a Redis Cluster the masters share them.

use rand::seq::SliceRandom as _;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, Value, cmd, pipe,
};
use secrecy::{ExposeSecret, SecretString};

use super::RedisError;
use super::partition::Partition;
use super::wire::{ANSWER_MAX, CONNECT_MAX};

/// How Redis is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrangement {
    /// One server, or one address that always leads to the right one.
    Single,
    /// A Redis Cluster; the addresses are some of its nodes.
    Cluster,
    /// Sentinels, who know the `master`; the addresses are theirs.
    Sentinel { master: String },
}

/// Where Redis is asked for.
#[derive(Clone)]
pub struct Topology {
    arrangement: Arrangement,
    seeds: Vec<ConnectionInfo>,
}

/// A server and the partitions it has.
#[derive(Debug, Clone)]
pub struct Server {
    pub client: Client,
    pub partitions: Vec<Partition>,
    /// Whether channels belong to servers, as in a Redis Cluster.
    pub is_sharded: bool,
}

impl Server {
    /// Host and port, as logs name it.
    #[must_use]
    pub fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }
}

impl Topology {
    /// Reads the addresses, each `redis://` or `rediss://`.
    ///
    /// # Errors
    /// [`RedisError::Refused`] for one that cannot be understood; it is not repeated, because of its password.
    pub fn new(arrangement: Arrangement, urls: &[SecretString]) -> Result<Self, RedisError> {
        let seed = |url: &SecretString| {
            let info = url.expose_secret().into_connection_info();
            info.map(of_three).map_err(|_| RedisError::Refused("not a Redis address".to_owned()))
        };
        let seeds = urls.iter().map(seed).collect::<Result<_, _>>()?;
        Ok(Self { arrangement, seeds })
    }

    /// Asks who has which partitions; the first address that answers is believed.
    ///
    /// # Errors
    /// Why the last one did not answer.
    pub async fn servers(&self) -> Result<Vec<Server>, RedisError> {
        let mut failure = RedisError::Refused("there is no address".to_owned());
        // In another order each time: the first may be gone for long.
        let mut seeds: Vec<&ConnectionInfo> = self.seeds.iter().collect();
        seeds.shuffle(&mut rand::rng());
        for seed in seeds {
            let asked = match &self.arrangement {
                Arrangement::Single => single(seed),
                Arrangement::Cluster => cluster(seed).await,
                Arrangement::Sentinel { master } => sentinel(seed, master).await,
            };
            match asked {
                Ok(servers) => return Ok(servers),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// The same with protocol 3, in which messages come beside answers.
fn of_three(info: ConnectionInfo) -> ConnectionInfo {
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    info.set_redis_settings(settings)
}

fn single(seed: &ConnectionInfo) -> Result<Vec<Server>, RedisError> {
    let client = Client::open(seed.clone())?;
    Ok(vec![Server { client, partitions: Partition::all().collect(), is_sharded: false }])
}

async fn sentinel(seed: &ConnectionInfo, master: &str) -> Result<Vec<Server>, RedisError> {
    let mut connection = connect(&Client::open(seed.clone())?).await?;
    let (host, port): (String, u16) = cmd("SENTINEL")
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(master)
        .query_async(&mut connection)
        .await?;
    let server = elsewhere(seed, host, port);
    let mut connection = connect(&Client::open(server.clone())?).await?;
    let role: Vec<Value> = cmd("ROLE").query_async(&mut connection).await?;
    // A sentinel may be late: a master that was replaced comes back as a replica.
    if !matches!(role.first(), Some(Value::BulkString(role)) if role == b"master") {
        return Err(RedisError::Refused(
            "the sentinel names a server that is no master".to_owned(),
        ));
    }
    single(&server)
}

async fn cluster(seed: &ConnectionInfo) -> Result<Vec<Server>, RedisError> {
    let mut connection = connect(&Client::open(seed.clone())?).await?;
    let mut asking = pipe();
    for partition in Partition::all() {
        asking.cmd("CLUSTER").arg("KEYSLOT").arg(partition.key(""));
    }
    let slots: Vec<u16> = asking.query_async(&mut connection).await?;
    let ranges: Vec<Vec<Value>> = cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
    let ranges: Vec<Range> = ranges.iter().filter_map(|range| Range::read(range)).collect();
    let mut servers: Vec<Server> = Vec::new();
    for (partition, slot) in Partition::all().zip(slots) {
        let Some(range) = ranges.iter().find(|range| range.contains(slot)) else {
            return Err(RedisError::Refused(format!("nobody has slot {slot}")));
        };
        let info = range.server(seed);
        let known =
            |server: &&mut Server| server.client.get_connection_info().addr() == info.addr();
        match servers.iter_mut().find(known) {
            Some(server) => server.partitions.push(partition),
            None => servers.push(Server {
                client: Client::open(info)?,
                partitions: vec![partition],
                is_sharded: true,
            }),
        }
    }
    Ok(servers)
}

/// Slots that one master has.
struct Range {
    first: u16,
    last: u16,
    host: String,
    port: u16,
}

impl Range {
    /// Reads one row of `CLUSTER SLOTS`: first, last, the master, its replicas.
    fn read(row: &[Value]) -> Option<Self> {
        let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = row else {
            return None;
        };
        let (host, port) = match master.as_slice() {
            [Value::BulkString(host), Value::Int(port), ..] => {
                (String::from_utf8_lossy(host).into_owned(), port)
            }
            // A master that does not know its own address.
            [Value::Nil, Value::Int(port), ..] => (String::new(), port),
            _ => return None,
        };
        let number = |number: &i64| u16::try_from(*number).ok();
        Some(Self { first: number(first)?, last: number(last)?, host, port: number(port)? })
    }

    fn contains(&self, slot: u16) -> bool {
        (self.first..=self.last).contains(&slot)
    }

    fn server(&self, seed: &ConnectionInfo) -> ConnectionInfo {
        let asked = match seed.addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
            _ => String::new(),
        };
        // An empty host is the one that was asked.
        let host = if self.host.is_empty() { asked } else { self.host.clone() };
        elsewhere(seed, host, self.port)
    }
}

/// The same settings at another address.
fn elsewhere(seed: &ConnectionInfo, host: String, port: u16) -> ConnectionInfo {
    let address = match seed.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host, port),
    };
    seed.clone().set_addr(address)
}

async fn connect(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_MAX))
        .set_response_timeout(Some(ANSWER_MAX));
    Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(host: Value) -> Vec<Value> {
        vec![
            Value::Int(0),
            Value::Int(5_460),
            Value::Array(vec![host, Value::Int(7_001), Value::BulkString(b"id".to_vec())]),
        ]
    }

    #[test]
    fn a_master_without_a_host_is_where_it_was_asked() {
        let seed = "redis://:secret@10.0.0.1:7000".into_connection_info().unwrap();
        let named = Range::read(&row(Value::BulkString(b"10.0.0.2".to_vec()))).unwrap();
        let unnamed = Range::read(&row(Value::Nil)).unwrap();
        assert_eq!(named.server(&seed).addr().to_string(), "10.0.0.2:7001");
        assert_eq!(unnamed.server(&seed).addr().to_string(), "10.0.0.1:7001");
        assert_eq!(named.server(&seed).redis_settings().password(), Some("secret"));
        assert!(named.contains(5_460) && !named.contains(5_461));
    }

    #[test]
    fn an_address_that_is_none_is_refused_without_its_password() {
        let urls = [SecretString::from("mysql://:hunter2@cache")];
        let refused = Topology::new(Arrangement::Single, &urls).err().unwrap().to_string();
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}
