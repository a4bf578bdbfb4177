// The floors of lib/: a file imports only from rooms below its own. errors and abi stand on the ground.
const floors = [
  ['errors', 'abi'],
  ['kernel'],
  ['memory'],
  ['vring'],
  ['completion', 'backend'],
  ['vhost'],
  ['net'],
  ['cli'],
];

const forbidden = floors.flatMap((rooms, floor) =>
  rooms.map((room) => {
    const above = floors
      .slice(floor)
      .flat()
      .filter((other) => other !== room);
    return {
      name: `${room}-imports-only-from-below`,
      severity: 'error',
      from: { path: `^lib/${room}/` },
      to: { path: `^lib/(${[...above, 'index'].join('|')})(/|\\.)` },
    };
  }),
);

module.exports = {
  forbidden: [
    ...forbidden,
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-development-packages', severity: 'error', from: {}, to: { dependencyTypes: ['npm-dev'] } },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
  },
};
