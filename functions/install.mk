# How the project installs packages, wherever it does: just those that a lock file names, each held against its hash.
# Nothing is resolved: a pip that resolves looks for coverage[toml] beside a locked coverage, and refuses a newer release
# of it, so that the lock would hold only until there is one. That a lock is complete is then for `pip check` to say.
# It lies here since `sam build` copies this folder alone.
PIP := -m pip --disable-pip-version-check -qq
LOCKED := --no-deps --require-hashes --requirement
