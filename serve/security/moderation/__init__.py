"""What a site does not want drawn: rules for prompts, an engine that looks at pictures, and what is done then."""
