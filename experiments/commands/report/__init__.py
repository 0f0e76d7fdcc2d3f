"""`report`: what its pages, figures and event files are made from, and the command."""
