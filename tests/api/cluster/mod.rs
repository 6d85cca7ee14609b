//! Several nodes that serve as one: on one PostgreSQL, linked by a real Redis.

mod cutter;
mod nats;
mod nodes;
mod redis;
mod redis_cluster;
mod redis_sentinel;

mod bus;
mod delivery;
mod failures;
mod limits;
mod presence;
mod services;
