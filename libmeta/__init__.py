"""libmeta: the shared core of the ms-* tools. Arrays in, arrays out; it prints nothing and never exits."""

__version__ = "0.1.0"
