"""The pages that nas.visualize writes: which page a folder has, and where it goes."""
