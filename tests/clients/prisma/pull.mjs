// `prisma db pull`, with the engine that comes as a package: prints the schema of the database at argv[2].
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { PrismaPg } from '@prisma/adapter-pg'
import { ColumnTypeEnum, bindSqlAdapterFactory } from '@prisma/driver-adapter-utils'

const CHAR = 18
const TEXT = 25

/** As an engine must have it: the type "char", which the catalogs are full of, is not known to the adapter. */
class Adapter extends PrismaPg {
  async connect() {
    const connection = await super.connect()
    const { queryRaw } = connection
    connection.queryRaw = async (query) => {
      let chars
      const performIO = async (asked) => {
        const result = await connection.performIO(asked)
        chars = result.fields.map((field) => field.dataTypeID === CHAR)
        return { ...result, fields: result.fields.map((field, i) => (chars[i] ? { ...field, dataTypeID: TEXT } : field)) }
      }
      const told = await queryRaw.call(Object.create(connection, { performIO: { value: performIO } }), query)
      return { ...told, columnTypes: told.columnTypes.map((type, i) => (chars[i] ? ColumnTypeEnum.Character : type)) }
    }
    return connection
  }
}

const here = createRequire(import.meta.url).resolve('@prisma/schema-engine-wasm/schema_engine_bg')
const bindings = await import(here)
globalThis.PRISMA_WASM_PANIC_REGISTRY = { set_message: (message) => console.error(message) }
const { instance } = await WebAssembly.instantiate(readFileSync(here.replace(/js$/, 'wasm')), { './schema_engine_bg.js': bindings })
bindings.__wbg_set_wasm(instance.exports)
instance.exports.__wbindgen_start()

const content = `generator client {
  provider        = "prisma-client-js"
  output          = "./generated"
  previewFeatures = ["partialIndexes", "views"]
}

datasource db {
  provider = "postgresql"
}
`
const path = 'schema.prisma'
const adapter = bindSqlAdapterFactory(new Adapter({ connectionString: process.argv[2] }))
const engine = await bindings.SchemaEngine.new({ datamodels: [[path, content]] }, () => {}, adapter)
const { schema } = await engine.introspect({
  schema: { files: [{ path, content }] },
  baseDirectoryPath: '/',
  force: true,
  compositeTypeDepth: -1,
  namespaces: null,
})
process.stdout.write(schema.files[0].content, () => process.exit())
