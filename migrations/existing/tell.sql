-- For an existing schema: the function that tells Countersign of changes. Apply it, and then the triggers of your tables
-- (the files beside this one, or docs/existing-schemas.md), as the owner of those tables:
--
--     psql -d DATABASE -f migrations/existing/tell.sql -f migrations/existing/django.sql
--
-- Nothing is written anywhere: each change is told on the channel "countersign" when it is committed. A trigger has to be
-- called countersign_..., and to be for INSERT, UPDATE and DELETE, for each row.
--
--     countersign_tell_row('user', 'id')                        the user whose id stands in column id
--     countersign_tell_row('platform', 'id', 'user_id')         a platform, and the list of the user in column user_id
--     countersign_tell_row('settings', 'user_id', 'platform_id')
--     countersign_tell_row('session', 'session_key')            the session whose key stands in that column; what is told
--                                                               is a hash of it

CREATE OR REPLACE FUNCTION countersign_tell_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    side jsonb;
    one text;
    other text;
BEGIN
    FOREACH side IN ARRAY ARRAY[to_jsonb(OLD), to_jsonb(NEW)] LOOP
        one := side ->> TG_ARGV[1];
        CONTINUE WHEN one IS NULL;
        IF TG_ARGV[0] = 'user' THEN
            PERFORM pg_notify('countersign', 'user:' || one);
        ELSIF TG_ARGV[0] = 'platform' THEN
            PERFORM pg_notify('countersign', 'platform:' || one);
            other := side ->> TG_ARGV[2];
            IF other IS NOT NULL THEN
                PERFORM pg_notify('countersign', 'user_platforms:' || other);
            END IF;
        ELSIF TG_ARGV[0] = 'session' THEN
            PERFORM pg_notify('countersign', 'table_session:'
                || translate(encode(sha256(convert_to('table:' || one, 'UTF8')), 'base64'), '+/=', '-_'));
        ELSIF TG_ARGV[0] = 'settings' THEN
            other := side ->> TG_ARGV[2];
            IF other IS NOT NULL THEN
                PERFORM pg_notify('countersign', 'settings:'
                    || replace(replace(one, '%', '%25'), ':', '%3A') || ':'
                    || replace(replace(other, '%', '%25'), ':', '%3A'));
            END IF;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
