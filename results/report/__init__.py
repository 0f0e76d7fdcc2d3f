"""A report: pages about leaderboards, their methods and runs, for people to look at."""
