"""The full-fidelity archive: every checkpoint of every session, in a git repository.

    refs      what a session is called there          address   what `archive.url` means to git
    tree      what a commit holds                     git       how git is run, and what went wrong
    cache     the local bare repository               host      the repository at the other end
    ledger    how far each session is (the store)
    branch    writes: a checkpoint becomes a commit   reader    reads: from refs back to bytes
    fold      makes many idle refs one

One ref a session and machine, one commit a checkpoint, each the parent of the next; so a ref only ever goes
on, nothing is forced, and everything may be repeated: what is there already is up to date.  Readers build
the union of what several machines hold.
"""
