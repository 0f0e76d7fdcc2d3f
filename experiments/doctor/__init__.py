"""What `doctor` looks at: each check returns findings, and asks for what it judges by itself."""
