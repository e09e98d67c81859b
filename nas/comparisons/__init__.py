"""What an honest comparison of architectures makes of finished trainings: tests, a table, figures."""
