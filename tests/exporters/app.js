// An application with OpenTelemetry for Node, configured by OTEL_* alone, as in a real pod.
//
// usage: node app.js MODULES      (the folder that npm installed into)
//
// It does what its standard input says, and prints, as app.py does: work MS [SIGNAL...], rest, instruments, shutdown.
'use strict';

const { createRequire } = require('node:module');
const readline = require('node:readline');

const modules = createRequire(`${process.argv[2]}/`);
const { metrics, trace } = modules('@opentelemetry/api');
const { logs } = modules('@opentelemetry/api-logs');
const { NodeSDK } = modules('@opentelemetry/sdk-node');

const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

const sdk = new NodeSDK();
sdk.start();

const tracer = trace.getTracer('lab');
const logger = logs.getLogger('lab');
let counter;
let timer;

const instruments = () => {
  counter ??= metrics.getMeter('lab').createCounter('lab.units');
  return counter;
};

const unit = (signals) => {
  if (signals.includes('metrics')) instruments().add(1);
  if (signals.includes('traces')) tracer.startSpan('unit').end();
  if (signals.includes('logs')) logger.emit({ body: 'a unit of work', severityText: 'INFO' });
};

const work = (every, signals) => {
  clearInterval(timer);
  if (every) timer = setInterval(unit, every, signals);
};

const lines = readline.createInterface({ input: process.stdin });
lines.on('line', async (line) => {
  const [command, every, ...signals] = line.split(' ');
  switch (command) {
    case 'work':
      work(Number(every), signals.length ? signals : ['traces', 'metrics', 'logs']);
      break;
    case 'rest':
      work();
      break;
    case 'instruments':
      instruments();
      break;
    case 'shutdown':
      await sdk.shutdown().catch((error) => process.stderr.write(`${error}\n`));
      break;
    default:
      throw new Error(`what is ${line}?`);
  }
  say({ done: line });
});
// Like a process that is killed: what is queued is lost, and no export delays the end.
lines.on('close', () => process.exit(0));
say({ ready: true });
