"""What a process counts and measures: `metric` says how, `catalogue` what. `serve.ray_process` sends it to Ray."""
