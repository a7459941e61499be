//! Without AWS: SQLite leases, and local Kinesis and Firehose endpoints with the services' limits.
