"""``python -m mixedflow`` is the command ``mixedflow``; see ``mixedflow.cli``.

Stands outside the equations of ``docs/algorithm.md``.
"""

from mixedflow.cli import main

if __name__ == "__main__":
    main()
