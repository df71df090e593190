"""What any project needs and this one too: files, progress, threads, memory, fetching. Nothing of the field."""
