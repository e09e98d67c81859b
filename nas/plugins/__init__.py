"""Spaces, operations, tasks and searchers from other packages.

A plugin is a module that registers what it adds when it is imported:

    from nas.plugins import register_space

    register_space("theirs", make_space)

A module of one's own needs no package: ``plugins=[my_module]`` or ``plugins=[folder/my_module.py]`` imports it. An
installed package announces its module under the name that the module registers. A command imports the module when it
uses that name, so that a broken plugin does not stop other runs:

    [project.entry-points."nas.spaces"]
    theirs = "their_package.spaces"

The groups of entry points are ``nas.spaces``, ``nas.operations``, ``nas.tasks`` and ``nas.searchers``. YAML files stand
in a folder ``conf`` of the package, or beside the module: ``conf/space/theirs.yaml`` makes ``+space=theirs`` work.
"""

from nas.plugins.registry import register_operation, register_searcher, register_space, register_task

__all__ = ["register_operation", "register_searcher", "register_space", "register_task"]
