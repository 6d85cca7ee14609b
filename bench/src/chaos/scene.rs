//! The scene: people, rooms, and who is a member of which.

use anyhow::Context as _;
use uuid::Uuid;

use crate::api::{Api, Person};
use crate::chance::Chance;

/// Rooms that one client follows at most.
const FOLLOWED_MAX: usize = 3;

#[derive(Debug)]
pub struct Scene {
    pub people: Vec<Person>,
    pub rooms: Vec<Room>,
}

#[derive(Debug)]
pub struct Room {
    pub id: Uuid,
    pub channel: String,
    /// Their places among the people.
    members: Vec<usize>,
}

impl Scene {
    /// Registers the people and makes the rooms.
    pub async fn set(
        api: &Api,
        people: usize,
        rooms: usize,
        chance: &mut Chance,
    ) -> anyhow::Result<Self> {
        let people = api.register(people).await?;
        let mut made = Vec::with_capacity(rooms);
        for number in 0..rooms {
            let members = members(number, people.len(), chance);
            let named: Vec<&Person> =
                members.iter().filter_map(|member| people.get(*member)).collect();
            let owner = named.first().context("a room needs people")?;
            let id = api.create_room(&format!("chaos {number}"), owner, &named).await?;
            made.push(Room { id: Uuid::parse_str(&id)?, channel: format!("room:{id}"), members });
        }
        Ok(Self { people, rooms: made })
    }

    /// The rooms that a client of `person` follows: one to three of theirs.
    pub fn followed(&self, person: usize, chance: &mut Chance) -> Vec<usize> {
        let rooms = self.rooms.iter().enumerate();
        let mut theirs: Vec<usize> = rooms
            .filter(|(_, room)| room.members.contains(&person))
            .map(|(number, _)| number)
            .collect();
        chance.shuffle(&mut theirs);
        theirs.truncate(1 + chance.below(FOLLOWED_MAX));
        theirs
    }

    /// The channel of a room, and one of its members.
    pub fn member_of(&self, room: usize) -> Option<(&str, &Person)> {
        let room = self.rooms.get(room)?;
        Some((&room.channel, self.people.get(*room.members.first()?)?))
    }
}

/// Everybody, or half of them. The first room has everybody: nobody is without a room.
fn members(room: usize, people: usize, chance: &mut Chance) -> Vec<usize> {
    let mut members: Vec<usize> = (0..people).collect();
    chance.shuffle(&mut members);
    if room > 0 && chance.is_one_in(2) {
        members.truncate(people.div_ceil(2));
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_has_everybody_or_half_of_them_and_the_first_has_everybody() {
        let mut chance = Chance::new(1, 0);

        let sizes: Vec<_> = (0..40).map(|room| members(room, 9, &mut chance).len()).collect();

        assert_eq!(sizes.first(), Some(&9));
        assert!(sizes.iter().all(|size| [5, 9].contains(size)));
        assert!(sizes.contains(&5));
    }
}
