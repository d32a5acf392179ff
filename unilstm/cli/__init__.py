"""The command line. typer and rich are an extra; without them main() says how to get them."""

from __future__ import annotations

import sys


def main() -> None:
    """The console script `unilstm`."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError as problem:
        print(f'The command line needs {problem.name}. Run: pip install "unilstm[cli]".', file=sys.stderr)
        raise SystemExit(2) from None
    from .app import app

    app()
