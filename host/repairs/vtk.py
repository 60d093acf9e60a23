"""VisTrails' package `vtk`, which was written for VTK 7: its ports, upgrades of older workflows, and its cell."""

from __future__ import annotations

import re

from host.repairs.edits import Edit, Repair

_PACKAGE = "packages/vtk/"

# ---- what upgrades of old workflows get besides ----

_CLASSES = """\
                     'vtkOpenGLVolumeTextureMapper3D': 'vtkSmartVolumeMapper',
                     'vtkVolumeTextureMapper2D': 'vtkSmartVolumeMapper',
                     'vtkVolumeRayCastMapper': 'vtkFixedPointVolumeRayCastMapper',
                     'vtkVolumeRayCastCompositeFunction': 'vtkObject',
                     'vtkVolumeRayCastIsosurfaceFunction': 'vtkObject',
                     'vtkVolumeRayCastMIPFunction': 'vtkObject',
                     'vtkStreamLine': 'vtkStreamTracer'}
"""

_FUNCTIONS_GONE = """\
functions_gone = {
    'vtkFixedPointVolumeRayCastMapper': ['SetVolumeRayCastFunction', 'VolumeRayCastFunction'],
    'vtkObject': ['SetCompositeMethodToInterpolateFirst', 'SetCompositeMethodToClassifyFirst',
                  'SetIsoValue', 'SetMaximizeMethodToOpacity', 'SetMaximizeMethodToScalarValue'],
    'vtkStreamTracer': ['SetNumberOfThreads', 'SetStepLength'],
    'vtkSmartVolumeMapper': ['SetMaximumNumberOfPlanes', 'SetSampleDistance']}

"""

_MAPPINGS = """\
        # Overloads are numbered as VTK's documentation lists them, which is not as earlier versions did.
        overloads = {}
        for spec in input_specs:
            overload = spec and uscore_num.match(spec.name)
            if overload:
                overloads.setdefault(overload.group(1), []).append(spec)
        renumbered = {}
        for name, specs in overloads.items():
            if any(spec.method_type in ('OnOff', 'nullary', 'SetXToY') for spec in specs):
                continue
            for old in [name] + [spec.name for spec in specs]:
                for old in (old, 'Set' + old):
                    renumbered[old] = that_takes(specs, input_mappings.get(old, old))
                    function_mappings.setdefault(old, renumbered[old])
        for gone in ('ImmediateModeRendering', 'GlobalImmediateModeRendering',
                     'MapColorScalarsThroughLookupTable', 'Debug', 'Modified'):
            for name in (gone, gone + 'On', gone + 'Off', 'Set' + gone):
                function_mappings[name] = None
        for name in functions_gone.get(desc.name, ()):
            input_mappings[name] = function_mappings[name] = None
        if 'AddViewProp' in input_names:
            input_mappings['AddActor2D'] = 'AddViewProp'
        if desc.name == 'vtkThreshold':
            function_mappings['ThresholdBetween'] = threshold_between
        if desc.name == 'vtkMergeFilter':
            for name in ('Scalars', 'Vectors', 'Normals', 'TCoords', 'Tensors'):
                input_mappings['Set' + name] = name + 'Data'
            input_mappings['SetGeometry'] = 'GeometryInputData'
        if desc.name == 'vtkStreamTracer':
            for name, value in (('BothDirections', 'Both'), ('Forward', 'Forward'),
                                ('Backward', 'Backward')):
                function_mappings['SetIntegrationDirectionToIntegrate' + name] = \\
                                             change_func('IntegrationDirection', value)
            # A streamline had a longest time, has a longest length, and ends where the data do.
            function_mappings['SetMaximumPropagationTime'] = \\
                                             change_func('MaximumPropagation', '1e6')
            function_mappings['SetIntegrationStepLength'] = 'InitialIntegrationStep'
            for on in (True, False):
                function_mappings['VorticityOn' if on else 'VorticityOff'] = \\
                                             change_func('ComputeVorticity', on)
            for name in ('SetMaximumPropagationTime', 'VorticityOn', 'VorticityOff'):
                input_mappings[name] = None
            input_mappings['SetIntegrationStepLength'] = 'InitialIntegrationStep'
"""

# Those of the package's last version, which are of VTK 7, are upgraded for what VTK has lost since.
_LATER = """\
        later = UpgradeModuleRemap('1.0.1', '1.0.2', package_version,
                                   module_name=desc.name)
        for kind, mappings in (('dst_port_remap', input_mappings),
                               ('function_remap', function_mappings)):
            for name, value in mappings.items():
                if value is None:
                    later.add_remap(kind, name, None)
        for name, remap in renumbered.items():
            later.add_remap('function_remap', name, remap)
        _remap.add_module_remap(later)
        for old, new in module_name_remap.items():
            if desc.name == new:
                later.new_module = new
                _remap.add_module_remap(later, old)
"""

_REMAPS = """\
    def set_toggle(name):
        def remap(old_func, new_module):
            value = old_func.params[0].strValue in ('1', 'True')
            new_function = create_function(new_module, name, [value])
            return [('add', new_function, 'module', new_module.id)]
        return remap

    def that_takes(specs, otherwise):
        def kinds(spec):
            return [kind.rsplit(':')[-1] for kind in re.findall(r'[\\w:]+', spec.port_type)]

        def is_a(kind, value):
            try:
                {'Integer': int, 'Float': float, 'String': str, 'Boolean': ['True', 'False'].index}[kind](value)
            except (KeyError, ValueError):
                return False
            return True

        def remap(old_func, new_module):
            values = [param.strValue for param in old_func.params]
            fit = [spec for spec in specs if len(kinds(spec)) == len(values) and
                   all(map(is_a, kinds(spec), values))]
            fit.sort(key=lambda spec: (kinds(spec) != [param.type for param in old_func.params],
                                       kinds(spec).count('String')))
            name = fit[0].name if fit else otherwise
            return [('add', build_function(old_func, name, new_module),
                     'module', new_module.id)]
        return remap

    def threshold_between(old_func, new_module):
        return [('add', create_function(new_module, name, [param.strValue]),
                 'module', new_module.id)
                for name, param in zip(('LowerThreshold', 'UpperThreshold'),
                                       old_func.params)]

"""

# What cells of old workflows were told that is a window's or its interactor's part.
_CELL_FUNCTIONS_GONE = """\
        for name in ('SetWindowName', 'LightFollowCameraOff', 'LightFollowCameraOn',
                     'SetDesiredUpdateRate'):
            remap.add_remap('function_remap', name, None)
"""

# ---- what lets values travel ----

_PICKLED = """\
    def __reduce__(self):
        import vtk
        if not isinstance(self.vtkInstance, (vtk.vtkDataObject, vtk.vtkAbstractArray)):
            raise TypeError("a %s is part of a pipeline of VTK and stays in its "
                            "process; take the data that it gives (the port "
                            "Output), an array or a picture" %
                            type(self.vtkInstance).__name__)
        import vtkmodules.util.pickle_support
        return VTKInstanceWrapper, (self.vtkInstance, self.module_id)

"""

_CURRENT_MODULE = """\
    def _current_module(self, reg):
        if reg.has_module(self.package, self.module, self.namespace):
            return self.module
        package = reg.packages.get(self.package)
        renamed = getattr(package and package.init_module, 'module_name_remap', {})
        return renamed.get(self.module, self.module)

"""

_CONNECTION = """\
    def create_connection(controller, src_module, src_port, dst_module, dst_port):
        # With the modules' current identifier and version.
        saved = [(m, m.package, m.version) for m in (src_module, dst_module)]
        try:
            for m, package, _ in saved:
                if (package in [identifier] + old_identifiers and
                        reg.has_module(identifier, m.name, m.namespace)):
                    m.package = identifier
                    m.version = package_version
            return UpgradeWorkflowHandler.create_new_connection(
                    controller, src_module, src_port, dst_module, dst_port)
        finally:
            for m, package, version in saved:
                m.package = package
                m.version = version

"""

REPAIRS = (
    Repair(
        name="vtk: abstract base classes",
        since="Python 3.10",
        reason="collections.Callable is gone.",
        edits=(
            Edit(
                _PACKAGE + "vtk_wrapper/vtk_parser.py",
                "isinstance(getattr(klass, x), collections.Callable)",
                "callable(getattr(klass, x))",
            ),
        ),
    ),
    Repair(
        name="vtk: defaults of attributes",
        since="VTK 9.1",
        reason=(
            "The default values and ranges that are asked for here are used nowhere, and some classes end the"
            " process when asked."
        ),
        edits=(
            Edit(
                _PACKAGE + "vtk_wrapper/vtk_parser.py",
                re.compile(
                    r"        # Find the default and range of the values\.\n.*?(?=        return meths\n\n"
                    r"    def _find_get_methods)",
                    re.DOTALL,
                ),
                "",
            ),
        ),
    ),
    Repair(
        name="vtk: signatures",
        since="VTK 9.1",
        reason=(
            "The docstrings, from which the ports are made, have Python's own form now: Name(self, a:float,"
            " b:int=...) -> None."
        ),
        edits=(
            Edit(
                _PACKAGE + "vtk_wrapper/vtk_parser.py",
                "        doc = doc[:doc.find('\\n\\n')]\n",
                "        doc = doc[:doc.find('\\n\\n')]\n"
                "        doc = re.sub(r'^(\\w+)\\((?:self,?\\s*)?', r'V.\\1(', doc, flags=re.M)\n"
                "        doc = re.sub(r'\\b\\w+:(?!:)|=[^,)]+|\\s*-> None', '', doc)\n",
            ),
            Edit(
                _PACKAGE + "vtk_wrapper/parse.py",
                "'string': \"basic:String\",\n",
                "'string': \"basic:String\",\n                 'str': \"basic:String\",\n",
            ),
        ),
    ),
    Repair(
        name="vtk: where the ports are kept",
        since="any",
        reason=(
            "Each user's first start with VTK took half a minute to read the ports from VTK's docstrings; `make setup` does that"
            " once."
        ),
        edits=(
            Edit(
                _PACKAGE + "init.py",
                "    # TODO: how to patch with diff/merge\n",
                "    prepared = os.path.join(os.path.dirname(__file__),\n"
                "                            os.path.basename(spec_name))\n"
                "    if os.path.exists(prepared):\n"
                "        spec_name = prepared\n",
            ),
        ),
    ),
    Repair(
        name="vtk: without a window",
        since="VTK 9.4",
        reason="Where there is no window, as in an engine, VTK draws by EGL, and need not first warn that there is no X server.",
        edits=(
            Edit(
                _PACKAGE + "init.py",
                "import os.path\n\nimport vtk\n",
                "import os.path\n"
                "import sys\n"
                "\n"
                "from vistrails.core.application import is_running_gui\n"
                "if sys.platform == 'linux' and not is_running_gui():\n"
                "    os.environ.setdefault('VTK_DEFAULT_OPENGL_WINDOW', 'vtkEGLRenderWindow')\n"
                "import vtk\n",
            ),
        ),
    ),
    Repair(
        name="vtk: data that travel",
        since="VTK 9.3",
        reason="VTK's data objects can be pickled, but not what VisTrails wraps them in; what else is wrapped cannot.",
        edits=(
            Edit(
                _PACKAGE + "vtk_wrapper/wrapper.py",
                "    def __getattr__(self, name):\n        return getattr(self.vtkInstance, name)",
                _PICKLED + "    def __getattr__(self, name):\n        return getattr(self.vtkInstance, name)",
            ),
        ),
    ),
    Repair(
        name="vtk: types of ports",
        since="VTK 9.1",
        reason="Enumerations, Pointer, Buffer and others are no modules, so that no port can have such a type.",
        edits=(
            Edit(
                _PACKAGE + "vtk_wrapper/parse.py",
                "    return t not in disallowed_classes\n",
                "    if t in type_map_values:\n"
                "        return True\n"
                "    bases = getattr(getattr(vtk, t, None), '__mro__', ())\n"
                "    return vtk.vtkObjectBase in bases and not any(\n"
                "        base.__name__ in disallowed_classes | disallowed_modules for base in bases)\n",
            ),
        ),
    ),
    Repair(
        name="vtk: ports whose type VTK has lost",
        since="VTK 7",
        reason=(
            "A module's own ports may have a class for their type that is gone, as those of a Tuple or a PythonSource; they"
            " take what upgrades put in its place."
        ),
        edits=(
            Edit(
                "core/vistrail/port_spec_item.py",
                "                self._descriptor = reg.get_descriptor_by_name(self.package,\n"
                "                                                              self.module,\n"
                "                                                              self.namespace)\n",
                "                self._descriptor = reg.get_descriptor_by_name(self.package,\n"
                "                                                              self._current_module(reg),\n"
                "                                                              self.namespace)\n",
            ),
            Edit(
                "core/vistrail/port_spec_item.py",
                "    def _get_descriptor(self):\n",
                _CURRENT_MODULE + "    def _get_descriptor(self):\n",
            ),
        ),
    ),
    Repair(
        name="vtk: ResetCamera",
        since="VTK 9.4",
        reason="It returns whether it did something, so that it was taken for a question and got no port.",
        edits=(
            Edit(
                _PACKAGE + "vtk_wrapper/parse.py",
                "                ([result], params) = sig\n",
                "                ([result], params) = sig\n"
                "                if name == 'ResetCamera':\n"
                "                    result = None\n",
            ),
        ),
    ),
    Repair(
        name="vtk: what VTK has lost since 7",
        since="VTK 8 and 9",
        reason=(
            "Upgrades of old workflows leave out functions that are gone, and rename those that are called"
            " something else."
            " Classes that are gone give way to what took their place; a ray cast function is part of its mapper now."
        ),
        edits=(
            Edit(
                _PACKAGE + "init.py",
                "                     'vtkVolumeTextureMapper3D': 'vtkSmartVolumeMapper'}\n",
                "                     'vtkVolumeTextureMapper3D': 'vtkSmartVolumeMapper',\n" + _CLASSES,
            ),
            Edit(_PACKAGE + "init.py", "def base_name(name):\n", _FUNCTIONS_GONE + "def base_name(name):\n"),
            Edit(
                _PACKAGE + "init.py",
                "        remap = UpgradeModuleRemap('0.9.5', '1.0.0', '1.0.0',\n"
                "                                   module_name=desc.name)\n"
                "        for k, v in input_mappings",
                _MAPPINGS + _LATER + "        remap = UpgradeModuleRemap('0.9.5', '1.0.0', '1.0.0',\n"
                "                                   module_name=desc.name)\n"
                "        for k, v in input_mappings",
            ),
            Edit(
                _PACKAGE + "init.py",
                "                function_mappings[spec.name + 'Off'] = \\\n"
                "                                             change_func(spec.name, False)\n",
                "                function_mappings[spec.name + 'Off'] = \\\n"
                "                                             change_func(spec.name, False)\n"
                "                function_mappings['Set' + spec.name] = set_toggle(spec.name)\n",
            ),
            Edit(_PACKAGE + "init.py", "    def color_func(name):\n", _REMAPS + "    def color_func(name):\n"),
            Edit(
                _PACKAGE + "init.py",
                "                                   module_name='VTKCell')\n",
                "                                   module_name='VTKCell')\n" + _CELL_FUNCTIONS_GONE,
            ),
        ),
    ),
    Repair(
        name="vtk: names of files in old workflows",
        since="any",
        reason="An upgrade stored a file's name as the text of the object that stands for it, which names no file.",
        edits=(
            Edit(
                _PACKAGE + "init.py",
                "            value = PathObject(old_func.params[0].strValue)\n",
                "            value = old_func.params[0].strValue\n",
            ),
        ),
    ),
    Repair(
        name="vtk: connections of modules half-way through an upgrade",
        since="any",
        reason="An upgrade to 1.0.0 asked for the ports of a module that was not of the current version yet.",
        edits=(
            Edit(
                _PACKAGE + "init.py",
                "    def get_port_specs(descriptor, port_type):\n",
                _CONNECTION + "    def get_port_specs(descriptor, port_type):\n",
            ),
            Edit(
                _PACKAGE + "init.py",
                "create_new_connection = UpgradeWorkflowHandler.create_new_connection",
                "create_new_connection = create_connection",
                times=4,
            ),
            Edit(
                _PACKAGE + "init.py",
                "from .identifiers import identifier, version as package_version",
                "from .identifiers import identifier, old_identifiers, version as package_version",
            ),
        ),
    ),
    Repair(
        name="vtk: sip",
        since="PyQt5 5.11",
        reason="PyQt5's wheels bring sip as PyQt5.sip.",
        edits=(Edit(_PACKAGE + "vtkcell.py", "import sip\n", "from PyQt5 import sip\n"),),
    ),
    Repair(
        name="vtk: a cell's picture",
        since="any",
        reason="QBuffer.putChar takes a byte.",
        edits=(Edit(_PACKAGE + "vtkcell.py", "buf.putChar(chr(c))", "buf.putChar(bytes([c]))"),),
    ),
)
