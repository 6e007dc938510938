-- Dagster's own database, beside the ledger's
CREATE DATABASE dagster OWNER dailies;
