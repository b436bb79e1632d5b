"""Stand-ins for what lies outside: real servers on loopback, with faults on demand.

`github.FakeGitHub` in the test's own process, `process.GitHubProcess` as one that can be killed.
"""
