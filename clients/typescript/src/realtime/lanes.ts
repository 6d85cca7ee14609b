/**
 * Which channels share an event stream. A lane is a stream's place: it outlives the stream, with the word over its channels
 * that the next one goes on from.
 *
 * Invariant: a channel is carried by one lane at a time, by the one whose word knows it as long as that has room.
 */

import type { ChannelName } from './protocol.js';

/** So many channels the server takes in one stream. */
export const LANE_CHANNELS_MAX = 32;
/** Over HTTP/1.1 a browser makes six connections to a server, in all of its tabs: two are left for requests. */
export const LANES_MAX = 4;

export interface Lane {
  /** The newest word of its stream. */
  cursor: string | undefined;
  /** Channels that have been carried, which the word may know. */
  readonly known: Set<ChannelName>;
}

/** What a lane carries. */
export type Loads = ReadonlyMap<Lane, ReadonlySet<ChannelName>>;

export interface Plan {
  /** What lanes are to carry that carry something else now. */
  changed: Map<Lane, Set<ChannelName>>;
  /** Channels for which there is no room. */
  unplaced: ChannelName[];
}

export class Lanes {
  readonly #lanes: Lane[] = [];

  /** Finds a place for each channel, beside what is carried. */
  place(names: ChannelName[], carried: Loads): Plan {
    const changed = new Map<Lane, Set<ChannelName>>();
    const load = (lane: Lane) => changed.get(lane) ?? carried.get(lane);
    const put = (name: ChannelName, lane: Lane | undefined) => {
      if (lane) changed.set(lane, new Set(load(lane)).add(name));
      return lane !== undefined;
    };
    const hasRoom = (lane: Lane) => (load(lane)?.size ?? 0) < LANE_CHANNELS_MAX;
    const isHome = (lane: Lane, name: ChannelName) => load(lane)?.has(name) || (lane.known.has(name) && hasRoom(lane));
    // Those first that a lane knows: nobody else takes their place.
    const strangers = names.filter((name) => !put(name, this.#lanes.find((lane) => isHome(lane, name))));
    const roomy = () => this.#lanes.find((lane) => load(lane) && hasRoom(lane)) ?? this.#lanes.find(hasRoom) ?? this.#add();
    const unplaced = strangers.filter((name) => !put(name, roomy()));
    return { changed, unplaced };
  }

  /** A lane for a stream that carries nothing yet. */
  any(): Lane | undefined {
    return this.#lanes[0] ?? this.#add();
  }

  #add(): Lane | undefined {
    if (this.#lanes.length >= LANES_MAX) return undefined;
    const lane: Lane = { cursor: undefined, known: new Set() };
    this.#lanes.push(lane);
    return lane;
  }
}
