-- Who is friends with whom, who has asked, who follows whom, and who wants to hear nothing more of somebody.

-- Two rows a friendship, one for each of the two, written and deleted together: whoever asks for somebody's friends, or
-- whether two are friends, reads one range of one index.
CREATE TABLE friendships (
    user_id   UUID   NOT NULL,
    friend_id UUID   NOT NULL,
    since     BIGINT NOT NULL,
    CONSTRAINT friendships_pkey PRIMARY KEY (user_id, friend_id),
    CONSTRAINT friendships_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT friendships_friend_id_fkey FOREIGN KEY (friend_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX friendships_since_idx ON friendships (user_id, since, friend_id);

-- A request is open until it is accepted or taken back, and then gone; one that was rejected stays for a while, because
-- it may not be repeated at once.
CREATE TABLE friend_requests (
    from_id     UUID   NOT NULL,
    to_id       UUID   NOT NULL,
    sent_at     BIGINT NOT NULL,
    rejected_at BIGINT,
    CONSTRAINT friend_requests_pkey PRIMARY KEY (from_id, to_id),
    CONSTRAINT friend_requests_from_id_fkey FOREIGN KEY (from_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT friend_requests_to_id_fkey FOREIGN KEY (to_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX friend_requests_outgoing_idx ON friend_requests (from_id, sent_at, to_id) WHERE rejected_at IS NULL;
CREATE INDEX friend_requests_incoming_idx ON friend_requests (to_id, sent_at, from_id) WHERE rejected_at IS NULL;
-- For whoever leaves for good, with what they have declined.
CREATE INDEX friend_requests_to_id_idx ON friend_requests (to_id);

-- How many requests somebody has sent in the day that began then, whatever has become of them.
CREATE TABLE friend_request_days (
    user_id  UUID   NOT NULL PRIMARY KEY,
    began_at BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    CONSTRAINT friend_request_days_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);

CREATE TABLE blocks (
    user_id    UUID   NOT NULL,
    blocked_id UUID   NOT NULL,
    at         BIGINT NOT NULL,
    CONSTRAINT blocks_pkey PRIMARY KEY (user_id, blocked_id),
    CONSTRAINT blocks_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT blocks_blocked_id_fkey FOREIGN KEY (blocked_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX blocks_at_idx ON blocks (user_id, at, blocked_id);
CREATE INDEX blocks_blocked_id_idx ON blocks (blocked_id, user_id);

CREATE TABLE follows (
    user_id     UUID   NOT NULL,
    followed_id UUID   NOT NULL,
    at          BIGINT NOT NULL,
    CONSTRAINT follows_pkey PRIMARY KEY (user_id, followed_id),
    CONSTRAINT follows_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT follows_followed_id_fkey FOREIGN KEY (followed_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX follows_at_idx ON follows (user_id, at, followed_id);
CREATE INDEX follows_followed_id_idx ON follows (followed_id, at, user_id);

-- Followers are the one crowd here without a limit, and every look at a profile wants their number. No row is none.
CREATE TABLE follower_counts (
    user_id   UUID   NOT NULL PRIMARY KEY,
    followers BIGINT NOT NULL,
    CONSTRAINT follower_counts_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);
