"""The command line: one file a sub-command. They wire things together and hold no logic of their own."""
