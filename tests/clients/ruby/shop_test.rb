# The demo's shop, as a Rails application uses it: schema dump, a migration, models.

require 'active_record'
require 'minitest/autorun'
require 'securerandom'
require 'stringio'

DIRECT = ENV.fetch('UPSTREAM_URL')
EXPECT_COMMITS = ENV['EXPECT_COMMITS'] == '1'
EXPECT_MASKS = ENV['EXPECT_MASKS'] == '1'

class ApplicationRecord < ActiveRecord::Base
  self.abstract_class = true
end
ApplicationRecord.establish_connection(ENV.fetch('DATABASE_URL'))

# Straight to the database, as its administrator.
class Witness < ActiveRecord::Base
  self.abstract_class = true
  establish_connection(DIRECT)

  # A digest of what is committed.
  def self.committed
    tables = connection.tables.sort
    tables.to_h do |table|
      name = connection.quote_table_name(table)
      [table, connection.select_value("SELECT count(*) || ' ' || md5(string_agg(t::text, ',' ORDER BY t::text)) FROM #{name} t")]
    end
  end
end

class Customer < ApplicationRecord
  has_many :orders
  has_many :payments, through: :orders
  validates :email, presence: true, uniqueness: { case_sensitive: false }
  store_accessor :preferences, :newsletter
end

class Order < ApplicationRecord
  belongs_to :customer
  has_many :payments
  scope :open, -> { where(status: %w[pending paid]) }
end

class Payment < ApplicationRecord
  belongs_to :order
end

class Review < ApplicationRecord
  belongs_to :customer
end

class CreateReviews < ActiveRecord::Migration[6.1]
  def change
    create_table :reviews do |t|
      t.references :customer, null: false, foreign_key: { on_delete: :cascade }
      t.integer :stars, null: false
      t.string :author
      t.timestamps
      t.index %i[customer_id stars], unique: true
      t.check_constraint 'stars <= 5'
    end
  end
end

BEFORE = Witness.committed
Minitest.after_run do
  next if EXPECT_COMMITS || Witness.committed == BEFORE

  warn 'something was committed'
  exit! 1
end

class Shop < Minitest::Test
  i_suck_and_my_tests_are_order_dependent!

  PLACE = { full_name: 'Dev Test', street: '1 Test Street', city: 'Austin', postal_code: '73301' }.freeze

  def setup
    @email = "dev-#{SecureRandom.hex(6)}@test.example"
  end

  def teardown
    return unless EXPECT_COMMITS

    ours = Customer.where('email LIKE ?', "%#{@email}")
    Payment.joins(:order).where(orders: { customer_id: ours }).delete_all
    Order.where(customer_id: ours).delete_all
    ours.delete_all
  end

  # The schema as Rails writes it down, without what the migration makes here.
  def dumped(base)
    ActiveRecord::SchemaDumper.ignore_tables = %w[reviews]
    out = StringIO.new
    ActiveRecord::SchemaDumper.dump(base.connection, out)
    out.string
  end

  def test_the_schema_is_the_real_one
    assert_includes dumped(ApplicationRecord), 'create_table "customers"'
    assert_equal dumped(Witness), dumped(ApplicationRecord)
    seen = [Witness, ApplicationRecord].map do |base|
      c = base.connection
      (c.tables - %w[reviews]).sort.map do |table|
        columns = c.columns(table).map { |x| [x.name, x.sql_type, x.null, x.default, x.default_function, x.comment] }
        indexes = c.indexes(table).map { |i| [i.name, i.columns, i.unique, i.where, i.using] }
        [table, columns, c.primary_key(table), indexes, c.foreign_keys(table).map(&:to_h), c.check_constraints(table).map(&:to_h)]
      end + [c.views, c.extensions, c.data_sources.sort - %w[reviews], c.schema_names.reject { |name| name.start_with?('devinprod') }]
    end
    assert_equal(*seen)
  end

  def test_a_migration
    ActiveRecord::Migration.suppress_messages { CreateReviews.new.exec_migration(ApplicationRecord.connection, :up) }
    Review.reset_column_information
    customer = Customer.create!(email: @email, **PLACE)
    Review.create!(customer: customer, stars: 5, author: customer.email)
    assert_raises(ActiveRecord::StatementInvalid) { Review.create!(customer: customer, stars: 6) }
    assert_raises(ActiveRecord::RecordNotUnique) { Review.create!(customer: customer, stars: 5) }
    assert_raises(ActiveRecord::InvalidForeignKey) { Review.insert!({ customer_id: -1, stars: 1, created_at: Time.now, updated_at: Time.now }) }
    somebody = Customer.find(42)
    Review.create!(customer: somebody, stars: 1, author: somebody.email)
    assert_equal [42, customer.id], Review.joins(:customer).where('reviews.author = customers.email').pluck(:customer_id).sort
    customer.destroy!
    assert_equal 1, Review.count
  ensure
    # In a sandbox it stays: DROP TABLE would lock the customers for everybody, as long as the sandbox lives.
    EXPECT_COMMITS && ActiveRecord::Migration.suppress_messages { CreateReviews.new.exec_migration(ApplicationRecord.connection, :down) }
  end

  def test_sign_up_log_in_change_leave
    customer = Customer.create!(email: @email, **PLACE)
    refute_predicate Customer.new(email: @email.upcase), :valid?
    assert_raises(ActiveRecord::RecordNotUnique) { Customer.new(email: @email, **PLACE).save!(validate: false) }
    assert_equal customer, Customer.find_by(email: @email)
    assert_equal customer, Customer.find_by!('lower(email) = ?', @email)
    assert_equal customer, Customer.find_or_create_by!(email: @email)
    assert_equal 'Dev Test', customer.reload.full_name
    customer.update!(full_name: 'Dev Q. Test', phone: '+1 202 555 0100', newsletter: true)
    assert_equal ['Dev Q. Test', '+1 202 555 0100', true], Customer.where(email: @email).pick(:full_name, :phone, Arel.sql("(preferences->>'newsletter')::boolean"))
    assert_equal 1, Customer.where(email: @email).update_all("full_name = full_name || '!'")
    customer.with_lock { customer.update!(city: 'Denver') }
    assert_equal ['Dev Q. Test!', 'Denver'], customer.reload.slice(:full_name, :city).values
    customer.touch
    assert_equal @email, customer.reload.email
    customer.destroy!
    refute Customer.exists?(email: @email)
  end

  def test_transactions
    customer = Customer.create!(email: @email, **PLACE)
    number = SecureRandom.hex(6)
    Order.transaction do
      order = customer.orders.create!(note: 'Ring twice', status: 'pending', number: number)
      Order.transaction(requires_new: true) do
        order.update!(note: 'Gone')
        raise ActiveRecord::Rollback
      end
      order.payments.create!(amount: 12, card_holder: customer.full_name, card_number: '4111111111111111', card_expires: '12/39')
    end
    assert_equal ['Ring twice'], customer.orders.open.pluck(:note)
    assert_equal [['Dev Test', '4111111111111111']], customer.payments.pluck(:card_holder, :card_number)
    order = Order.includes(:customer, :payments).find_by!(note: 'Ring twice', number: number)
    assert_equal [@email, 1], [order.customer.email, order.payments.size]
    assert_equal [order], Order.joins(:payments).where(payments: { card_number: '4111111111111111' }).where(customer: customer).to_a
    assert_raises(ActiveRecord::InvalidForeignKey) { customer.delete }
  end

  def test_many_at_once
    rows = (0...20).map { |n| { email: "#{n}.#{@email}", created_at: Time.now, updated_at: Time.now, **PLACE } }
    assert_equal 20, Customer.insert_all!(rows, returning: %w[id email]).rows.map(&:last).grep(/#{@email}/).size
    assert_equal 0, Customer.insert_all(rows.first(3), unique_by: :email).rows.size
    again = rows.first(5).map { |row| row.merge(full_name: 'Upserted') }
    Customer.upsert_all(again, unique_by: :email)
    assert_equal({ 'Dev Test' => 15, 'Upserted' => 5 }, Customer.where('email LIKE ?', "%#{@email}").group(:full_name).count)
    ours = Customer.where('email LIKE ?', "%#{@email}")
    assert_equal 20, ours.in_batches(of: 7).sum { |batch| batch.update_all(city: 'Denver') }
    assert_equal 20, ours.where(city: 'Denver').delete_all
  end

  def test_lists_and_reports
    total = Customer.count
    page = Customer.order(created_at: :desc, id: :desc).limit(30).offset(60).to_a
    assert_equal 30, page.size
    somebody = page.first
    real = Witness.connection.select_rows("SELECT email, full_name FROM customers WHERE id = #{somebody.id}").first
    assert_equal EXPECT_MASKS, real[0] != somebody.email && real[1] != somebody.full_name
    assert_includes Customer.where('email ILIKE ?', "%#{somebody.email}%"), somebody
    assert_includes Customer.where(full_name: somebody.full_name).ids, somebody.id
    assert_equal total, Customer.group(:city).count.values.sum
    assert_equal total, Customer.find_each(batch_size: 500).count
    spent = Customer.joins(:orders).group('customers.id').order(Arel.sql('sum(orders.total) DESC')).limit(5)
    assert_equal 5, spent.pluck(:email, Arel.sql('sum(orders.total)')).size
    assert(spent.having('count(*) > 0').select('customers.*, count(*) AS n').all? { |row| row.n.positive? && row.email.include?('@') })
    assert_equal Order.count, Order.joins(:customer).where.not(customers: { full_name: nil }).count
    assert_equal page.map(&:id), Customer.preload(:orders).find(page.map(&:id)).map(&:id)
    assert_equal Customer.left_joins(:orders).where(orders: { id: nil }).count, Customer.where.missing(:orders).count
    assert_includes Customer.where(email: somebody.email).explain, 'Scan'
    assert_equal Customer.distinct.count(:email), Customer.pluck(:email).uniq.size
    assert_equal total, Customer.connection.select_value('SELECT count(*) FROM order_summaries s RIGHT JOIN customers c USING (email) WHERE s.id IS NULL').to_i + Order.distinct.count(:customer_id)
  end
end
