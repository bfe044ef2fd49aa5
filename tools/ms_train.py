from libmeta.cli import tool


@tool("placeholder")
def main():
    pass
