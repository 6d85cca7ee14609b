-- What waits for one webhook endpoint is counted, and what did not arrive there is found again, without reading all it was sent.

CREATE INDEX deliveries_webhook_queue_idx ON deliveries (target_id)
    WHERE medium = 'webhook' AND status = 'queued';
CREATE INDEX deliveries_webhook_replay_idx ON deliveries (target_id, created_at, id)
    WHERE medium = 'webhook' AND status IN ('bounced', 'dead', 'suppressed') AND data IS NOT NULL;
