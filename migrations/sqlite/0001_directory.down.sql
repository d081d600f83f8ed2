DROP VIEW platform_stats;
DROP TABLE audit;
DROP TABLE user_settings;
DROP TABLE sessions;
DROP TABLE platforms;
DROP TABLE users;
