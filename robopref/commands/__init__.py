"""The commands, one file per panel of `robopref --help`; importing a file adds its commands to `robopref.app`."""
