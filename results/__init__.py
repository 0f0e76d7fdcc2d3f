"""What came out: records on disk, and the tables made of them. Imports no other package here."""
