"""The builder's tables about the standard library: areas of modules, families, and modules that are left out."""

from __future__ import annotations

from collections.abc import Mapping

_AREAS = {
    "network": "http urllib ftplib poplib imaplib smtplib socket ssl socketserver xmlrpc wsgiref webbrowser "
    "ipaddress netrc",
    "formats": "email mailbox xml html json csv configparser plistlib tomllib mimetypes quopri base64 binascii "
    "pickle pickletools marshal shelve struct wave sqlite3 dbm zoneinfo",
    "text": "re string textwrap difflib codecs encodings unicodedata stringprep locale gettext pprint reprlib "
    "shlex fnmatch",
    "numbers": "decimal fractions statistics random math cmath numbers secrets hashlib hmac uuid colorsys "
    "datetime calendar time",
    "structures": "collections builtins heapq bisect array ctypes enum dataclasses types typing weakref copy copyreg "
    "graphlib operator functools itertools contextlib abc queue",
    "concurrency": "threading multiprocessing asyncio concurrent subprocess sched signal selectors select contextvars",
    "files": "os pathlib shutil tempfile fileinput glob stat filecmp tarfile zipfile zipapp gzip bz2 lzma zlib "
    "io mmap linecache platform pty tty",
    "tools": "ast dis inspect tokenize token symtable pdb bdb trace traceback profile cProfile pstats unittest "
    "doctest pydoc importlib pkgutil pyclbr py_compile compileall code codeop warnings logging timeit "
    "tracemalloc modulefinder runpy zipimport gc site sysconfig venv "
    "tabnanny opcode keyword",
    "interface": "tkinter turtle curses cmd argparse optparse getopt rlcompleter getpass",
}

AREAS: Mapping[str, str] = {module: area for area, modules in _AREAS.items() for module in modules.split()}
"""Subject area by family; a family without an entry has none."""

FAMILIES: Mapping[str, str] = {
    "_pydatetime": "datetime",
    "_pydecimal": "decimal",
    "_pyio": "io",
    "_io": "io",
    "_collections_abc": "collections",
    "_collections": "collections",
    "_strptime": "time",
    "_datetime": "datetime",
    "_heapq": "heapq",
    "_socket": "socket",
    "_struct": "struct",
    "_csv": "csv",
    "_random": "random",
    "_thread": "threading",
    "_operator": "operator",
    "_functools": "functools",
    "_signal": "signal",
    "_codecs": "codecs",
    "ntpath": "os",
    "posixpath": "os",
    "genericpath": "os",
    "nturl2path": "urllib",
    "cmath": "math",
    "posix": "os",
    "cProfile": "profile",
    "pstats": "profile",
    "bz2": "gzip",
    "lzma": "gzip",
    "compression": "gzip",
    "profiling": "profile",
    "bdb": "pdb",
    "nntplib": "poplib",
}
"""Modules that share text with another module (Python and C versions, platform variants) and belong to its family."""

_NO_DOCUMENTATION = (
    "test tests idlelib lib2to3 site-packages dist-packages ensurepip turtledemo __pycache__ idle_test pydoc_data "
    "this antigravity sre_compile sre_constants sre_parse nt msilib tix"
)
_NOT_IN_EVERY_VERSION = (
    "distutils asynchat asyncore imp smtpd cgi cgitb chunk crypt imghdr mailcap nntplib pipes sndhdr sunau "
    "telnetlib uu xdrlib aifc audioop annotationlib templatelib"
)

LEFT_OUT: frozenset[str] = frozenset(f"{_NO_DOCUMENTATION} {_NOT_IN_EVERY_VERSION}".split())
"""Names of modules and folders that are not read."""

C_MODULES: tuple[str, ...] = (
    "array",
    "binascii",
    "builtins",
    "cmath",
    "gc",
    "itertools",
    "marshal",
    "math",
    "mmap",
    "posix",
    "select",
    "time",
    "unicodedata",
    "zlib",
    "_codecs",
    "_collections",
    "_csv",
    "_functools",
    "_random",
    "_signal",
    "_socket",
    "_struct",
    "_thread",
)
"""Modules written in C whose import only defines names."""
