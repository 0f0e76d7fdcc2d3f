"""What happens: matrices become runs, runs become jobs, jobs train."""
