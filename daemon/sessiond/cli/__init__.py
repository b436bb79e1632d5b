"""What a person types and reads.  Only `commands` and what it imports needs click."""
