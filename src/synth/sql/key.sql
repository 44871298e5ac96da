-- The secret that all masks hang on: 32 random bytes, made once, read by the masked views' owner alone.
CREATE TABLE IF NOT EXISTS devinprod.mask_key (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    key  bytea NOT NULL CHECK (length(key) = 32)
);
COMMENT ON TABLE devinprod.mask_key IS
    'The secret behind all synthetic values; who reads it can test guesses. Another key gives other values.';
REVOKE ALL ON devinprod.mask_key FROM PUBLIC;
-- gen_random_uuid() draws from the server's strong random source: 4 times 122 bits.
INSERT INTO devinprod.mask_key (key)
SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
    || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
ON CONFLICT DO NOTHING;

