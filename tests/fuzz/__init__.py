"""Every reader of foreign bytes, given millions of broken ones: `make fuzz`, and a short run in `make test`."""
