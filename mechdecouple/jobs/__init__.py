"""Jobs: many models, tasks and pairs as units of work that are done once, anywhere, in any order."""
