"""Why do searches drop chunks that the task needs, and which remedy prevents it?"""
