// The floors of lib/: a file imports only from rooms below its own. errors and abi stand on the ground.
const floors = [
  ['errors', 'abi'],
  ['kernel'],
  ['memory', 'socket'],
  ['vring'],
  ['completion', 'backend'],
  ['vhost'],
  ['net'],
  ['cli'],
];

const anyRoom = `^lib/((${floors.flat().join('|')})/|index\\.ts$)`;

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
    // A new room is given a floor before anything stands in it.
    { name: 'no-room-without-a-floor', severity: 'error', from: { path: '^lib/', pathNot: anyRoom }, to: {} },
    {
      name: 'lib-stands-alone',
      severity: 'error',
      from: { path: '^lib/' },
      to: { path: '^(test|scripts|examples)/' },
    },
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-development-packages', severity: 'error', from: {}, to: { dependencyTypes: ['npm-dev'] } },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
  },
};
